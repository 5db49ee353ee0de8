// A graph to walk through: boxes on a board, groups that open and close, search, and a panel for what
// is selected. #node=NAME in the address selects a node.

const kMostMatches = 100;

function shortened(text, most) {
  return text.length <= most ? text : "…" + text.slice(text.length - most + 1);
}

function connect(figure) {
  for (const value of figure.values) value.readers = [];
  figure.nodes.forEach((node, index) => {
    for (const v of node.outputs) if (v >= 0) figure.values[v].maker = index;
    for (const v of node.inputs) if (v >= 0) figure.values[v].readers.push(index);
  });
}

function diagramFigure(figure, host) {
  connect(figure);
  const state = {figure, root: groupTree(figure.nodes), panel: element("div", {class: "panel"})};
  openOutermost(state.root);
  state.board = makeBoard((box) => selectBox(state, box), (box) => toggleBox(state, box));
  const matches = element("datalist", {id: "matches"});
  const search = element("input", {placeholder: "search nodes and tensors", list: "matches", "aria-label": "search"});
  search.addEventListener("input", () => suggest(state, search.value, matches));
  search.addEventListener("change", () => find(state, search.value));
  const act = (label, action) => element("button", {onclick: action}, label);
  host.append(
    element("div", {class: "tools"}, search, matches, act("fit", () => fit(state.board)),
            act("open all", () => openAll(state, true)), act("close all", () => openAll(state, false)),
            element("span", {class: "note"}, "drag to move, wheel to zoom, double click opens a group")),
    element("div", {class: "diagram"}, element("div", {class: "board"}, state.board.canvas), state.panel));
  arrange(state);
  fit(state.board);
  showNothing(state);
  const follow = () => {
    const wanted = /^#node=(.*)$/.exec(location.hash);
    if (!wanted) return;
    find(state, decodeURIComponent(wanted[1]));
    host.scrollIntoView();
  };
  window.addEventListener("hashchange", follow);
  follow();
}

function arrange(state) {
  const {boxes, edges, ofNode} = visibleBoxes(state.figure.nodes, state.figure.values);
  for (const box of boxes) {
    box.title = shortened(box.group ? box.group.label : box.node.label, 24);
    box.subtitle = shortened(box.group ? box.group.size + " nodes" : box.node.name, 26);
    box.w = Math.max(70, 7.2 * box.title.length + 16, 5.4 * box.subtitle.length + 14);
    box.h = 36;
  }
  state.board.scene = {boxes, edges, ofNode, ...layeredLayout(boxes, edges)};
  state.board.selected = -1;
  document.body.dataset.boxes = boxes.length;
  document.body.dataset.edges = edges.length;
}

function openAll(state, open) {
  setOpen(state.root, open);
  arrange(state);
  fit(state.board);
}

function toggleBox(state, index) {
  const box = state.board.scene.boxes[index];
  if (box && box.group) openGroup(state, box.group);
}

function openGroup(state, group) {
  const first = state.figure.nodes.findIndex((node) => inside(node, group));
  // A group in a group in a group: what has nothing beside it opens with it.
  for (let g = group; g; g = boxesOf(g) === 1 && g.groups.size ? [...g.groups.values()][0] : null) g.open = true;
  arrange(state);
  centre(state.board, state.board.scene.ofNode[first]);
}

function inside(node, group) {
  for (let g = node.home; g; g = g.parent) if (g === group) return true;
  return false;
}

function closeGroup(state, group) {
  group.open = false;
  arrange(state);
  const index = state.board.scene.boxes.findIndex((box) => box.group === group);
  if (index >= 0) selectBox(state, index);
  if (index >= 0) centre(state.board, index);
}

// Names that hold the text: names that begin with it first would be of no use, paths all begin alike.
function suggest(state, text, list) {
  list.replaceChildren();
  const wanted = text.toLowerCase();
  if (wanted.length < 2) return;
  for (const item of [...state.figure.nodes, ...state.figure.values]) {
    if (list.children.length >= kMostMatches) return;
    if (item.name.toLowerCase().includes(wanted) || (item.label || "").toLowerCase().includes(wanted))
      list.append(element("option", {value: item.name}, item.label || "tensor"));
  }
}

function find(state, name) {
  const {nodes, values} = state.figure, wanted = name.toLowerCase();
  let node = nodes.findIndex((n) => n.name === name);
  if (node < 0) {
    const value = values.findIndex((v) => v.name === name);
    if (value >= 0) return showValue(state, value, true);
    node = nodes.findIndex((n) => n.name.toLowerCase().includes(wanted) || n.label.toLowerCase() === wanted);
  }
  if (node >= 0) goTo(state, node);
  else state.panel.replaceChildren(element("p", {class: "note"}, "nothing has this name"));
}

function goTo(state, node) {
  let opened = false;
  for (let g = state.figure.nodes[node].home; g; g = g.parent) {
    opened = opened || !g.open;
    g.open = true;
  }
  if (opened) arrange(state);
  selectBox(state, state.board.scene.ofNode[node]);
  centre(state.board, state.board.selected);
}

function selectBox(state, index) {
  state.board.selected = index;
  const box = state.board.scene.boxes[index];
  if (!box) showNothing(state);
  else if (box.group) showGroup(state, box.group);
  else showNode(state, box.index);
  paint(state.board);
}
