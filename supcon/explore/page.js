// What all parts of the page use: the data, names, colours, tiles. All text comes in as text.
const data = JSON.parse(document.getElementById("data").textContent);
const images = data.images;
const missing = new Set(data.missing);
const sheets = data.tiles.sheets.map(source => Object.assign(new Image(), {src: source}));
const TABLE = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];

function byId(id) {
  return document.getElementById(id);
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function nameOf(label) {
  return label < 0 ? "no label" : data.classes[label];
}

function colourOf(label) {
  if (label < 0) return "#999999";
  const n = data.classes.length;
  return n <= TABLE.length ? TABLE[label] : `hsl(${360 * label / n} 70% ${label % 2 ? 38 : 60}%)`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

function count(n, what) {
  return `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
}

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function drawTile(context, image, x, y, side) {
  const own = data.tiles.side, each = data.tiles.columns;
  const sheet = Math.floor(image / (each * each)), place = image % (each * each);
  const left = own * (place % each), top = own * Math.floor(place / each);
  context.imageSmoothingEnabled = side < own;
  context.drawImage(sheets[sheet], left, top, own, own, x, y, side, side);
}

function tile(image, title) {
  const side = data.tiles.side;
  const canvas = element("canvas", {className: "tile picture", width: side, height: side, title});
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title);
  drawTile(canvas.getContext("2d"), image, 0, 0, side);
  return canvas;
}

function pathOf(image) {
  return images.path[image] + (missing.has(image) ? " (cannot be read)" : "");
}

// A canvas as large as it is shown, in device pixels; drawn anew when its size or the theme changes.
function fitted(canvas, draw) {
  const context = canvas.getContext("2d");
  const again = () => {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw();
  };
  new ResizeObserver(again).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  return context;
}
