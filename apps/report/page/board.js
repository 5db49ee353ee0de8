// Boxes and edges on a canvas that can be dragged and zoomed. Only what lies in sight is drawn.

function makeBoard(onSelect, onOpen) {
  const canvas = element("canvas", {tabindex: "0"});
  const board = {canvas, scale: 1, left: 0, top: 0, scene: null, selected: -1, near: new Set()};
  let drag = null;
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    return {x: event.clientX - frame.left, y: event.clientY - frame.top};
  };
  canvas.addEventListener("pointerdown", (event) => {
    drag = {...place(event), left: board.left, top: board.top, moved: false};
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const at = place(event);
    drag.moved = drag.moved || Math.hypot(at.x - drag.x, at.y - drag.y) > 4;
    board.left = drag.left - (at.x - drag.x) / board.scale;
    board.top = drag.top - (at.y - drag.y) / board.scale;
    paint(board);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) onSelect(boxAt(board, place(event)));
    drag = null;
  });
  canvas.addEventListener("dblclick", (event) => onOpen(boxAt(board, place(event))));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = place(event), before = board.scale;
    board.scale = Math.min(4, Math.max(0.005, before * Math.exp(-event.deltaY / 400)));
    board.left += at.x / before - at.x / board.scale;
    board.top += at.y / before - at.y / board.scale;
    paint(board);
  }, {passive: false});
  new ResizeObserver(() => paint(board)).observe(canvas);
  return board;
}

function boxAt(board, at) {
  const x = board.left + at.x / board.scale, y = board.top + at.y / board.scale, scene = board.scene;
  return scene.boxes.findIndex((box, i) =>
    Math.abs(scene.x[i] - x) <= box.w / 2 && Math.abs(scene.y[i] - y) <= box.h / 2);
}

function fit(board) {
  const {boxes, x, y} = board.scene, frame = board.canvas.getBoundingClientRect();
  let left = Infinity, right = -Infinity, top = Infinity, bottom = -Infinity;
  boxes.forEach((box, i) => {
    left = Math.min(left, x[i] - box.w / 2);
    right = Math.max(right, x[i] + box.w / 2);
    top = Math.min(top, y[i] - box.h / 2);
    bottom = Math.max(bottom, y[i] + box.h / 2);
  });
  if (!boxes.length || !frame.width) return;
  // Deep graphs start at their top, where text can be read, instead of being a thread.
  const wide = frame.width / (right - left + 60), high = frame.height / (bottom - top + 60);
  board.scale = Math.min(1.2, Math.max(high, Math.min(wide, 0.55)));
  board.left = (left + right - frame.width / board.scale) / 2;
  board.top = high >= board.scale ? (top + bottom - frame.height / board.scale) / 2 : top - 30;
  paint(board);
}

function centre(board, i) {
  const frame = board.canvas.getBoundingClientRect();
  board.scale = Math.max(board.scale, 0.8);
  board.left = board.scene.x[i] - frame.width / 2 / board.scale;
  board.top = board.scene.y[i] - frame.height / 2 / board.scale;
  paint(board);
}

function paint(board) {
  const {canvas, scene, scale} = board, dense = window.devicePixelRatio || 1;
  const frame = canvas.getBoundingClientRect();
  if (!scene || !frame.width) return;
  canvas.width = frame.width * dense;
  canvas.height = frame.height * dense;
  const pen = canvas.getContext("2d");
  pen.setTransform(dense * scale, 0, 0, dense * scale, -board.left * scale * dense, -board.top * scale * dense);
  const right = board.left + frame.width / scale, bottom = board.top + frame.height / scale;
  paintEdges(pen, board, bottom);
  scene.boxes.forEach((box, i) => {
    const x = scene.x[i] - box.w / 2, y = scene.y[i] - box.h / 2;
    if (x < right && y < bottom && x + box.w > board.left && y + box.h > board.top)
      paintBox(pen, box, x, y, i === board.selected, scale);
  });
}

function paintEdges(pen, board, bottom) {
  const {scene, scale, selected} = board;
  scene.edges.forEach(([from, to], e) => {
    const a = {x: scene.x[from], y: scene.y[from] + scene.boxes[from].h / 2};
    const b = {x: scene.x[to], y: scene.y[to] - scene.boxes[to].h / 2};
    if (Math.min(a.y, b.y) > bottom || Math.max(a.y, b.y) < board.top) return;
    const chosen = from === selected || to === selected;
    pen.strokeStyle = chosen ? "#1565c0" : "#a9b1bd";
    pen.lineWidth = (chosen ? 2.2 : 1.1) / Math.min(1, Math.max(scale, 0.15));
    pen.beginPath();
    pen.moveTo(a.x, a.y);
    let last = a;
    for (const point of [...scene.bends[e], b]) {
      const middle = (last.y + point.y) / 2;
      pen.bezierCurveTo(last.x, middle, point.x, middle, point.x, point.y);
      last = point;
    }
    pen.stroke();
  });
}

function paintBox(pen, box, x, y, selected, scale) {
  const hue = hueOf(box.group ? "group" : box.node.label);
  pen.fillStyle = box.group ? "#e7eaef" : `hsl(${hue} 62% 88%)`;
  pen.strokeStyle = selected ? "#1565c0" : box.group ? "#6c7686" : `hsl(${hue} 35% 55%)`;
  pen.lineWidth = selected ? 3 : 1.2;
  pen.beginPath();
  pen.roundRect(x, y, box.w, box.h, 5);
  pen.fill();
  pen.stroke();
  if (scale < 0.25) return;
  pen.fillStyle = "#1d2330";
  pen.textAlign = "center";
  pen.font = "600 12px system-ui, sans-serif";
  pen.fillText(box.title, x + box.w / 2, y + 15);
  pen.font = "10px system-ui, sans-serif";
  pen.fillStyle = "#5d6675";
  pen.fillText(box.subtitle, x + box.w / 2, y + 29);
}
