// How the map is moved and its classes are chosen: pointer, wheel, keys, legend.
function steerByPointer() {
  const down = new Map();
  canvas.addEventListener("pointerdown", event => {
    down.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    else show(nearest(event.offsetX, event.offsetY, 2 * REACH));
  });
  canvas.addEventListener("pointermove", event => {
    const now = [event.offsetX, event.offsetY], before = down.get(event.pointerId);
    if (!before) return void show(nearest(...now, REACH));
    down.set(event.pointerId, now);
    const other = [...down].find(([id]) => id !== event.pointerId);
    if (other) {  // two fingers
      const gap = from => Math.hypot(from[0] - other[1][0], from[1] - other[1][1]);
      zoomBy(gap(now) / Math.max(1, gap(before)), ...other[1]);
    } else {
      moveBy(now[0] - before[0], now[1] - before[1]);
    }
    show(marked);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, event => down.delete(event.pointerId));
  }
  canvas.addEventListener("pointerleave", event => {
    if (event.pointerType === "mouse") show(-1);
  });
  canvas.addEventListener("wheel", event => {
    if (document.activeElement !== canvas && !event.ctrlKey) return;  // the page scrolls
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
    show(nearest(event.offsetX, event.offsetY, REACH));
  }, {passive: false});
}

function steerByKeys() {
  const steps = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]};
  canvas.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (steps[event.key]) moveBy(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") zoomBy(1.4);
    else if (event.key === "-") zoomBy(1 / 1.4);
    else if (event.key === "0") return void wholeMap();
    else if (event.key === "Escape") return void show(-1);
    else return;
    event.preventDefault();
    show(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, 200));
  });
  byId("in").addEventListener("click", () => { zoomBy(1.6); show(-1); });
  byId("out").addEventListener("click", () => { zoomBy(1 / 1.6); show(-1); });
  byId("reset").addEventListener("click", wholeMap);
}

// A button for each value that some image has: pressed ones are shown alone.
function choices(place, values, pressed, name, colour) {
  const buttons = values.map(value => {
    const button = element("button", {}, name(value));
    if (colour) {
      const spot = element("span", {className: "dot"});
      spot.style.background = colour(value);
      button.prepend(spot);
    }
    button.addEventListener("click", () => {
      if (!pressed.delete(value)) pressed.add(value);
      press();
      filter();
    });
    return button;
  });
  const press = () => buttons.forEach((button, place) => {
    const isPressed = pressed.has(values[place]);
    button.setAttribute("aria-pressed", String(isPressed));
    button.classList.toggle("off", pressed.size > 0 && !isPressed);
  });
  press();
  place.replaceChildren(...buttons);
}

function legend() {
  const numbers = points.x.map((_, i) => labelOf(i)), counts = new Map();
  for (const label of numbers) counts.set(label, (counts.get(label) || 0) + 1);
  const labels = [...counts.keys()].sort((a, b) => a - b);
  const name = label => `${nameOf(label)} ${counts.get(label).toLocaleString("en")}`;
  choices(byId("legend"), labels, chosen.classes, name, colourOf);
}

function showMap(found) {
  points = found;
  canvas = byId("map");
  const parts = [...new Set(images.part)].sort();
  if (parts.length > 1) {
    byId("parts").className = "legend";
    choices(byId("parts"), parts, chosen.parts, part => data.parts[part]);
  } else {
    byId("parts").remove();
  }
  if (!images.label.slice(0, images.n).some(label => label >= 0)) chosen.by = byId("colour").value = "predicted";
  byId("colour").addEventListener("change", event => {
    chosen.by = event.target.value;
    chosen.classes.clear();
    legend();
    filter();
  });
  byId("wrong").addEventListener("change", event => { chosen.wrong = event.target.checked; filter(); });
  context = fitted(canvas, () => { isStale = true; drawMap(); });
  legend();
  filter();
  steerByPointer();
  steerByKeys();
}
