// A mark's name and numbers under its figure: of the mark that is pointed at or touched, or by arrow keys.
for (const svg of document.querySelectorAll("svg.panel[data-marks]")) {
  const marks = svg.dataset.marks.split("\n").map(line => line.match(/^(\S+) (\S+) (.*)$/).slice(1));
  const said = document.createElement("p");
  said.className = "said";
  said.setAttribute("aria-live", "polite");
  said.textContent = "Point at a mark, or press ← → here.";
  svg.after(said);
  const ring = svg.appendChild(document.createElementNS(svg.namespaceURI, "circle"));
  ring.setAttribute("class", "ring");
  ring.setAttribute("r", 7);
  let now = -1;
  const show = number => {
    now = (number + marks.length) % marks.length;
    ring.setAttribute("cx", marks[now][0]);
    ring.setAttribute("cy", marks[now][1]);
    said.textContent = marks[now][2];
  };
  const point = event => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const far = marks.map(([x, y]) => Math.hypot(x - at.x, y - at.y));
    const nearest = far.indexOf(Math.min(...far));
    if (far[nearest] < 24) show(nearest);
  };
  svg.setAttribute("tabindex", 0);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("focus", () => { if (now < 0 && svg.matches(":focus-visible")) show(0); });
  svg.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    show(now < 0 ? 0 : now + step);
  });
}
