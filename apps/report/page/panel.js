// What stands beside the graph: the selected node, tensor or group.

function showNothing(state) {
  const {nodes, values} = state.figure;
  state.panel.replaceChildren(
    element("h3", {}, state.figure.title),
    facts([["nodes", String(nodes.length)], ["tensors", String(values.length)]]),
    element("p", {class: "note"}, "select a box to see what it is"));
}

function showGroup(state, group) {
  const counts = new Map();
  for (const node of state.figure.nodes)
    if (inside(node, group)) counts.set(node.label, (counts.get(node.label) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  state.panel.replaceChildren(
    element("h3", {}, group.path),
    element("button", {onclick: () => openGroup(state, group)}, "open"),
    facts(sorted.map(([label, count]) => [label, String(count)])));
}

function showNode(state, index) {
  const node = state.figure.nodes[index], parts = [element("h3", {}, node.label), facts([["name", node.name], ...node.facts])];
  if (node.home.parent)
    parts.push(element("p", {}, "in " + node.home.path + " ",
                       element("button", {onclick: () => closeGroup(state, node.home)}, "close group")));
  parts.push(element("h3", {}, "inputs"), valueList(state, node.inputs));
  parts.push(element("h3", {}, "outputs"), valueList(state, node.outputs));
  state.panel.replaceChildren(...parts);
  state.panel.dataset.node = node.name;
}

function valueList(state, ids) {
  return element("ul", {}, ...ids.map((id) => element("li", {}, id < 0 ? "left out" : valueLink(state, id))));
}

function valueLink(state, id) {
  const value = state.figure.values[id], type = value.facts.find(([key]) => key === "type");
  return element("button", {class: "link", onclick: () => showValue(state, id, false)},
                 value.name + (type ? " : " + type[1] : ""));
}

function nodeLink(state, index) {
  const node = state.figure.nodes[index];
  return element("button", {class: "link", onclick: () => goTo(state, index)}, node.label + " " + node.name);
}

// `move`: the board goes to where the tensor is made, or read first.
function showValue(state, id, move) {
  const value = state.figure.values[id];
  const at = value.maker !== undefined ? value.maker : value.readers[0];
  if (move && at !== undefined) goTo(state, at);
  const parts = [element("h3", {}, "tensor"), facts([["name", value.name], ...value.facts])];
  if (value.histogram) parts.push(histogramPicture(value.histogram));
  if (value.maker !== undefined) parts.push(element("h3", {}, "made by"), nodeLink(state, value.maker));
  if (value.readers.length)
    parts.push(element("h3", {}, "read by"),
               element("ul", {}, ...value.readers.slice(0, 200).map((r) => element("li", {}, nodeLink(state, r)))));
  state.panel.replaceChildren(...parts);
  state.panel.dataset.tensor = value.name;
}

function histogramPicture({low, high, counts}) {
  const width = 300, height = 90, most = Math.max(...counts, 1), step = width / counts.length;
  const bars = counts.map((count, i) => {
    const bar = height * count / most, from = low + (high - low) * i / counts.length;
    const to = low + (high - low) * (i + 1) / counts.length;
    return drawing("rect", {x: i * step, y: height - bar, width: Math.max(step - 0.5, 0.5), height: bar, fill: "#5b8fd6"},
                   drawing("title", {}, `${shortNumber(from)} to ${shortNumber(to)}: ${count}`));
  });
  return drawing("svg", {width, height: height + 16, class: "histogram"}, ...bars,
                 drawing("text", {x: 0, y: height + 13}, shortNumber(low)),
                 drawing("text", {x: width, y: height + 13, "text-anchor": "end"}, shortNumber(high)));
}
