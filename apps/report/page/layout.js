// A layered layout (Sugiyama's): every edge points down, long ones bend around what lies between,
// and neighbours stand above each other. O(layers x edges) for a fixed number of sweeps.

const kSweeps = 8;
const kGapX = 18, kGapY = 34;
// Edges over more layers than this are drawn straight: bends for all of them would be most of the work.
const kMostBends = 24;

// sizes: [{w, h}]; edges: [[from, to]] without duplicates and loops to oneself.
// Returns {x, y, bends}: centres of the boxes, and for each edge the points between its ends.
function layeredLayout(sizes, edges) {
  const downward = withoutCycles(sizes.length, edges);
  const layer = longestPaths(sizes.length, downward);
  const graph = withBends(sizes, downward, layer);
  orderLayers(graph);
  placeInLayers(graph);
  const y = rows(graph);
  return {
    x: graph.x.slice(0, sizes.length),
    y: sizes.map((_, i) => y[graph.layer[i]]),
    bends: graph.chains.map((chain, e) => {
      const points = chain.map((i) => ({x: graph.x[i], y: y[graph.layer[i]]}));
      return downward[e][0] === edges[e][0] ? points : points.reverse();
    }),
  };
}

// Groups can need each other: edges that close a cycle are turned around.
function withoutCycles(count, edges) {
  const out = Array.from({length: count}, () => []);
  edges.forEach(([from], e) => out[from].push(e));
  const state = new Uint8Array(count);  // 1: on the path, 2: done
  const turned = edges.map((e) => e);
  for (let root = 0; root < count; ++root) {
    if (state[root]) continue;
    const path = [[root, 0]];
    state[root] = 1;
    while (path.length) {
      const top = path[path.length - 1];
      if (top[1] === out[top[0]].length) {
        state[top[0]] = 2;
        path.pop();
        continue;
      }
      const e = out[top[0]][top[1]++], to = edges[e][1];
      if (state[to] === 1) turned[e] = [to, top[0]];
      else if (!state[to]) {
        state[to] = 1;
        path.push([to, 0]);
      }
    }
  }
  return turned;
}

function longestPaths(count, edges) {
  const out = Array.from({length: count}, () => []), waiting = new Int32Array(count);
  for (const [from, to] of edges) {
    out[from].push(to);
    ++waiting[to];
  }
  const isSource = Array.from(waiting, (n) => n === 0);
  const ready = [], layer = new Int32Array(count);
  isSource.forEach((source, i) => { if (source) ready.push(i); });
  for (let k = 0; k < ready.length; ++k)
    for (const to of out[ready[k]]) {
      layer[to] = Math.max(layer[to], layer[ready[k]] + 1);
      if (--waiting[to] === 0) ready.push(to);
    }
  // What nothing comes before stands right above what it is for.
  for (let i = 0; i < count; ++i)
    if (isSource[i] && out[i].length) layer[i] = Math.min(...out[i].map((to) => layer[to])) - 1;
  return layer;
}

function withBends(sizes, edges, layerOf) {
  const layer = Array.from(layerOf), width = sizes.map((s) => s.w), height = sizes.map((s) => s.h);
  const up = sizes.map(() => []), down = sizes.map(() => []);
  const link = (a, b) => { down[a].push(b); up[b].push(a); };
  const chains = edges.map(([from, to]) => {
    const span = layer[to] - layer[from], chain = [];
    if (span < 1 || span > kMostBends) return chain;
    let last = from;
    for (let l = layer[from] + 1; l < layer[to]; ++l) {
      const bend = layer.length;
      layer.push(l);
      width.push(6);
      height.push(0);
      up.push([]);
      down.push([]);
      chain.push(bend);
      link(last, bend);
      last = bend;
    }
    link(last, to);
    return chain;
  });
  const layers = Array.from({length: Math.max(-1, ...layerOf) + 1}, () => []);
  layer.forEach((l, i) => layers[l].push(i));
  return {layer, width, height, up, down, chains, layers, x: new Float64Array(layer.length)};
}

// Sorts each layer by the mean place of its neighbours, down and up in turns.
function orderLayers(graph) {
  const place = new Float64Array(graph.layer.length);
  const settle = (ids) => ids.forEach((id, k) => { place[id] = k; });
  graph.layers.forEach(settle);
  for (let sweep = 0; sweep < kSweeps; ++sweep) {
    const downwards = sweep % 2 === 0, near = downwards ? graph.up : graph.down;
    for (let k = 1; k < graph.layers.length; ++k) {
      const ids = graph.layers[downwards ? k : graph.layers.length - 1 - k];
      const wanted = new Map(ids.map((id) => [id, mean(near[id], place, place[id])]));
      ids.sort((a, b) => wanted.get(a) - wanted.get(b) || place[a] - place[b]);
      settle(ids);
    }
  }
}

function mean(ids, values, otherwise) {
  if (!ids.length) return otherwise;
  let sum = 0;
  for (const id of ids) sum += values[id];
  return sum / ids.length;
}

function placeInLayers(graph) {
  const {x, width} = graph;
  for (const ids of graph.layers) {
    let total = -kGapX;
    for (const id of ids) total += width[id] + kGapX;
    let left = -total / 2;
    for (const id of ids) {
      x[id] = left + width[id] / 2;
      left += width[id] + kGapX;
    }
  }
  for (let sweep = 0; sweep < kSweeps; ++sweep) {
    const downwards = sweep % 2 === 0, near = downwards ? graph.up : graph.down;
    for (let k = 0; k < graph.layers.length; ++k)
      spread(graph.layers[downwards ? k : graph.layers.length - 1 - k], near, graph);
  }
}

// Moves a layer to the mean of its neighbours. Packing from the left and from the right each keep the
// boxes apart, so their mean does, and leans to neither side.
function spread(ids, near, {x, width}) {
  const wanted = ids.map((id) => mean(near[id], x, x[id]));
  const fromLeft = [], fromRight = [];
  for (let k = 0, edge = -Infinity; k < ids.length; ++k) {
    fromLeft[k] = Math.max(wanted[k], edge + width[ids[k]] / 2);
    edge = fromLeft[k] + width[ids[k]] / 2 + kGapX;
  }
  for (let k = ids.length - 1, edge = Infinity; k >= 0; --k) {
    fromRight[k] = Math.min(wanted[k], edge - width[ids[k]] / 2);
    edge = fromRight[k] - width[ids[k]] / 2 - kGapX;
  }
  ids.forEach((id, k) => { x[id] = (fromLeft[k] + fromRight[k]) / 2; });
}

function rows(graph) {
  let top = 0;
  return graph.layers.map((ids) => {
    const height = ids.reduce((most, id) => Math.max(most, graph.height[id]), 0);
    const middle = top + height / 2;
    top += height + kGapY;
    return middle;
  });
}
