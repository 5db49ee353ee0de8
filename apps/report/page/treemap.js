// Sizes as areas (squarified, after Bruls, Huizing and van Wijk). A click goes into a group.

const kMapWidth = 1000, kMapHeight = 420, kLabelHeight = 15;
const kLeastSide = 3;

// Names are a file's: no more than so many boxes within each other, the last one holds the rest.
const kMaxDepth = 32;

function pathParts(path) {
  const parts = path.split("/").filter((p) => p);
  if (parts.length > kMaxDepth) parts.push(parts.splice(kMaxDepth - 1).join("/"));
  return parts;
}

function sizeTree(leaves) {
  const root = {label: "all", size: 0, children: new Map(), parent: null};
  for (const [path, size] of leaves) {
    let at = root;
    at.size += size;
    for (const part of pathParts(path)) {
      if (!at.children.has(part)) at.children.set(part, {label: part, size: 0, children: new Map(), parent: at});
      at = at.children.get(part);
      at.size += size;
    }
  }
  return root;
}

function treemapFigure(figure, host) {
  const picture = drawing("svg", {viewBox: `0 0 ${kMapWidth} ${kMapHeight}`, width: kMapWidth, height: kMapHeight, class: "treemap"});
  const path = element("span", {class: "note"});
  let at = null;
  const show = (tree) => {
    at = tree;
    picture.replaceChildren();
    drawTree(tree, {x: 0, y: 0, w: kMapWidth, h: kMapHeight}, 0, {picture, show, unit: figure.unit});
    path.textContent = pathOf(tree) + ": " + withUnit(tree.size, figure.unit);
  };
  const out = element("button", {onclick: () => show(at.parent || at)}, "out");
  host.append(element("figcaption", {}, figure.title),
              element("div", {class: "tools"}, out, saveButton(picture, "treemap"), path), picture);
  show(sizeTree(figure.leaves));
}

function pathOf(tree) {
  return tree.parent ? (tree.parent.parent ? pathOf(tree.parent) + "/" : "") + tree.label : "all";
}

function drawTree(tree, frame, depth, context) {
  const leaf = tree.children.size === 0, hue = hueOf(depth ? tree.label : "all");
  const box = drawing("rect", {x: frame.x, y: frame.y, width: frame.w, height: frame.h, stroke: "#fff",
                               fill: leaf ? `hsl(${hue} 48% 76%)` : `hsl(215 22% ${Math.max(70, 92 - 6 * depth)}%)`,
                               onclick: () => context.show(leaf ? tree.parent || tree : tree)},
                      drawing("title", {}, pathOf(tree) + ": " + withUnit(tree.size, context.unit)));
  context.picture.append(box);
  if (frame.w > 46 && frame.h > kLabelHeight)
    context.picture.append(drawing("text", {x: frame.x + 4, y: frame.y + 12},
                                   shortened(tree.label, Math.floor(frame.w / 7))));
  if (leaf || frame.w < 4 * kLeastSide || frame.h < kLabelHeight + 2 * kLeastSide) return;
  const inner = {x: frame.x + 2, y: frame.y + kLabelHeight, w: frame.w - 4, h: frame.h - kLabelHeight - 2};
  for (const [child, part] of squarified([...tree.children.values()], inner))
    if (part.w >= kLeastSide && part.h >= kLeastSide) drawTree(child, part, depth + 1, context);
}

// [[child, {x, y, w, h}]]: rows along the shorter side, each as long as boxes get closer to squares.
function squarified(children, frame) {
  const rest = children.filter((c) => c.size > 0).sort((a, b) => b.size - a.size);
  let left = rest.reduce((sum, c) => sum + c.size, 0), from = 0;
  const out = [];
  frame = {...frame};
  while (from < rest.length) {
    const side = Math.min(frame.w, frame.h), scale = frame.w * frame.h / left;
    let sum = 0, to = from, worst = Infinity;
    while (to < rest.length) {
      const next = sum + rest[to].size, thick = next * scale / side;
      const bad = Math.max(thick / (rest[to].size * scale / thick), (rest[from].size * scale / thick) / thick);
      if (bad > worst) break;
      worst = bad;
      sum = next;
      ++to;
    }
    const thick = sum * scale / side, upright = frame.w >= frame.h;
    let along = 0;
    for (const child of rest.slice(from, to)) {
      const length = side * child.size / sum;
      out.push([child, upright ? {x: frame.x, y: frame.y + along, w: thick, h: length}
                               : {x: frame.x + along, y: frame.y, w: length, h: thick}]);
      along += length;
    }
    if (upright) { frame.x += thick; frame.w -= thick; } else { frame.y += thick; frame.h -= thick; }
    left -= sum;
    from = to;
  }
  return out;
}
