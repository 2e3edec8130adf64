// The map: points on a canvas, a grid of cells to find the one under the pointer.
const GRID = 10000;  // places are whole numbers up to it
const CELLS = 64;
const REACH = 14;  // pixels
const MOST_TILES = 150;  // so few in view are drawn as pictures
const chosen = {classes: new Set(), parts: new Set(), by: "label", wrong: false};
const view = {x: 0.5, y: 0.5, zoom: 1};
let points = null, canvas = null, context = null, cells = null, shown = [], marked = -1;
let inside = [], layer = null, isStale = true, waiting = false;  // what was drawn last

function labelOf(i) {
  return chosen.by === "label" ? images.label[i] : images.predicted[i];
}

function isShown(i) {
  if (chosen.classes.size && !chosen.classes.has(labelOf(i))) return false;
  if (chosen.parts.size && !chosen.parts.has(images.part[i])) return false;
  return !chosen.wrong || (images.label[i] >= 0 && images.label[i] !== images.predicted[i]);
}

function filter() {
  shown = points.x.map((_, i) => i).filter(isShown);
  cells = new Map();
  for (const i of shown) {
    const key = cellOf(points.x[i] / GRID) + CELLS * cellOf(points.y[i] / GRID);
    if (cells.has(key)) cells.get(key).push(i); else cells.set(key, [i]);
  }
  byId("count").textContent = `${shown.length.toLocaleString("en")} of ${count(images.n, "image")}`;
  show(-1);
  redraw();
}

function cellOf(place) {
  return Math.max(0, Math.min(CELLS - 1, Math.floor(place * CELLS)));
}

function scale() {
  return view.zoom * (Math.min(canvas.clientWidth, canvas.clientHeight) - 24);
}

function toScreen(i) {
  const s = scale();
  return [canvas.clientWidth / 2 + (points.x[i] / GRID - view.x) * s,
          canvas.clientHeight / 2 + (points.y[i] / GRID - view.y) * s];
}

// The image nearest to a place on the screen, among those of the grid's cells around it.
function nearest(x, y, reach) {
  const s = scale(), px = view.x + (x - canvas.clientWidth / 2) / s, py = view.y + (y - canvas.clientHeight / 2) / s;
  const r = reach / s;
  let best = -1, least = r * r;
  for (let row = cellOf(py - r); row <= cellOf(py + r); row++) {
    for (let column = cellOf(px - r); column <= cellOf(px + r); column++) {
      for (const i of cells.get(column + CELLS * row) || []) {
        const far = (points.x[i] / GRID - px) ** 2 + (points.y[i] / GRID - py) ** 2;
        if (far <= least) [best, least] = [i, far];
      }
    }
  }
  return best;
}

// Pixels of a dot: how far each is covered, by its distance from the middle.
function discOf(radius) {
  const disc = [], side = Math.ceil(radius + 1);
  for (let y = -side; y <= side; y++) {
    for (let x = -side; x <= side; x++) {
      const covered = Math.min(1, radius + 0.5 - Math.hypot(x, y));
      if (covered > 0.1) disc.push([x, y, Math.round(255 * covered)]);
    }
  }
  return disc.sort((a, b) => a[2] - b[2]);
}

// Dots are written as pixels: with 10,000 drawn as shapes a frame took 50 to 67 ms, so at most 17.
function drawDots(inside) {
  const ratio = canvas.width / canvas.clientWidth, width = canvas.width, height = canvas.height;
  if (!layer || layer.width !== width || layer.height !== height) layer = new ImageData(width, height);
  const pixels = new Uint32Array(layer.data.buffer);
  const disc = discOf(ratio * Math.min(5, (shown.length > 3000 ? 1.8 : 2.6) * Math.sqrt(view.zoom)));
  const colours = new Map();
  pixels.fill(0);
  for (const [i, left, top] of inside) {
    const label = labelOf(i), x = Math.round(left * ratio), y = Math.round(top * ratio);
    if (!colours.has(label)) colours.set(label, packed(colourOf(label)));
    const colour = colours.get(label);
    for (const [dx, dy, covered] of disc) {
      const column = x + dx, row = y + dy;
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      const place = row * width + column;
      if (covered === 255 || pixels[place] === 0) pixels[place] = colour | (covered << 24);
    }
  }
}

// Red in the lowest byte, as canvases keep it; without alpha.
function packed(colour) {
  const pen = element("canvas", {width: 1, height: 1}).getContext("2d", {willReadFrequently: true});
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
  return red | (green << 8) | (blue << 16);
}

function drawMap() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (isStale) {
    const s = scale() / GRID, left = width / 2 - view.x * scale(), top = height / 2 - view.y * scale();
    inside = [];
    for (const i of shown) {
      const x = left + points.x[i] * s, y = top + points.y[i] * s;
      if (x > -40 && x < width + 40 && y > -40 && y < height + 40) inside.push([i, x, y]);
    }
  }
  context.clearRect(0, 0, width, height);
  if (inside.length <= MOST_TILES && view.zoom > 1.5) {
    for (const [i, x, y] of inside) {
      context.fillStyle = colourOf(labelOf(i));
      context.fillRect(x - 19, y - 19, 38, 38);
      drawTile(context, i, x - 16, y - 16, 32);
    }
  } else {
    if (isStale) drawDots(inside);
    context.putImageData(layer, 0, 0);
  }
  isStale = false;
  if (marked >= 0) {
    const [x, y] = toScreen(marked);
    context.strokeStyle = variable("--ink");
    context.lineWidth = 2;
    context.strokeRect(x - 20, y - 20, 40, 40);
  }
}

// What is seen has moved, or other images are shown.
function redraw() {
  isStale = true;
  repaint();
}

function repaint() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawMap(); });
}

// The card of an image beside it; -1: of none.
function show(i) {
  if (i !== marked) {
    marked = i;
    if (i >= 0) byId("card").replaceChildren(tile(i, pathOf(i)), describe(i));
    byId("card").hidden = i < 0;
  }
  if (i >= 0) {
    const card = byId("card"), [x, y] = toScreen(i);
    const right = x + 26 + card.offsetWidth, low = y + 26 + card.offsetHeight;
    const leftOf = Math.max(2, Math.min(x - 26 - card.offsetWidth, canvas.clientWidth - card.offsetWidth - 2));
    card.style.left = `${right < canvas.clientWidth ? x + 26 : leftOf}px`;
    card.style.top = `${low < canvas.clientHeight ? y + 26 : Math.max(2, y - 26 - card.offsetHeight)}px`;
  }
  repaint();
}

function describe(i) {
  const label = images.label[i], right = label < 0 ? "" : label === images.predicted[i] ? ": right" : ": wrong";
  return element("div", {},
    element("b", {}, nameOf(label)), ` (${data.parts[images.part[i]]})`, element("br"),
    `taken for ${nameOf(images.predicted[i])}, ${percent(images.probability[i])}${right}`, element("br"),
    `distance ${images.distance[i].toFixed(4)}`, element("br"),
    element("span", {className: "quiet"}, pathOf(i)));
}

function zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const before = scale(), fromX = x - canvas.clientWidth / 2, fromY = y - canvas.clientHeight / 2;
  view.zoom = Math.max(0.5, Math.min(200, view.zoom * factor));
  view.x += fromX / before - fromX / scale();
  view.y += fromY / before - fromY / scale();
  redraw();
}

function moveBy(x, y) {
  view.x = Math.max(0, Math.min(1, view.x - x / scale()));
  view.y = Math.max(0, Math.min(1, view.y - y / scale()));
  redraw();
}

function wholeMap() {
  Object.assign(view, {x: 0.5, y: 0.5, zoom: 1});
  show(-1);
  redraw();
}
