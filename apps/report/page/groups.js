// The tree of groups that nodes' paths make, and what of it is to be seen.

// Groups are opened from the outside in while no more boxes than this are to be seen.
const kOpenAtFirst = 300;

function groupTree(nodes) {
  const root = {path: "", label: "", parent: null, groups: new Map(), nodes: [], size: 0, open: true};
  nodes.forEach((node, index) => {
    let at = root;
    ++at.size;
    for (const part of node.group.split("/").filter((p) => p)) {
      if (!at.groups.has(part))
        at.groups.set(part, {path: at.path + "/" + part, label: part, parent: at, groups: new Map(), nodes: [],
                             size: 0, open: false});
      at = at.groups.get(part);
      ++at.size;
    }
    at.nodes.push(index);
    node.home = at;
  });
  return root;
}

function boxesOf(group) {
  return group.nodes.length + group.groups.size;
}

function openOutermost(root) {
  let seen = boxesOf(root);
  const waiting = [...root.groups.values()];
  for (let k = 0; k < waiting.length; ++k) {
    const group = waiting[k], more = boxesOf(group) - 1;
    if (seen + more > kOpenAtFirst) continue;
    seen += more;
    group.open = true;
    waiting.push(...group.groups.values());
  }
}

function setOpen(group, open) {
  for (const inner of group.groups.values()) {
    inner.open = open;
    setOpen(inner, open);
  }
}

// The node's own box, or the outermost closed group around it.
function boxFor(node, index) {
  let box = index;
  for (let group = node.home; group.parent; group = group.parent)
    if (!group.open) box = group;
  return box;
}

// Boxes to draw, in the order of the nodes, and one edge for all values between two boxes.
function visibleBoxes(nodes, values) {
  const boxes = [], byKey = new Map(), ofNode = [];
  nodes.forEach((node, index) => {
    const key = boxFor(node, index);
    if (!byKey.has(key)) {
      byKey.set(key, boxes.length);
      boxes.push(typeof key === "number" ? {node, index} : {group: key});
    }
    ofNode.push(byKey.get(key));
  });
  const edges = [], known = new Set();
  for (const value of values) {
    if (value.maker === undefined) continue;
    for (const reader of value.readers) {
      const from = ofNode[value.maker], to = ofNode[reader], key = from * boxes.length + to;
      if (from === to || known.has(key)) continue;
      known.add(key);
      edges.push([from, to]);
    }
  }
  return {boxes, edges, ofNode};
}
