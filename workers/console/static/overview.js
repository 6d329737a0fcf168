// The overview's charts: drawn from /live/series, a point added as the stream brings it, colours from the style sheet.
"use strict";

(() => {
  const flow = document.getElementById("chart-flow");
  const backlog = document.getElementById("chart-backlog");
  const live = document.getElementById("live");
  const figures = document.getElementById("figures-of-charts");
  if (!flow || !backlog || !window.uPlot) return;

  const MOST = 360; // points
  const LONG = { "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800 }; // seconds
  const NAMES = ["at", "accepted", "delivered", "dead", "backlog", "oldest"];
  const span = flow.dataset.span;
  const lang = document.documentElement.lang.replace("en", "en-GB"); // the day before the month, as the page has it
  const number = new Intl.NumberFormat(lang, { maximumFractionDigits: 1 });
  const whole = new Intl.NumberFormat(lang, { maximumFractionDigits: 0 });
  const rate = (value) => (value < 10 ? number : whole).format(value);
  const timeZone = known(flow.dataset.zone);
  const time = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone });
  const day = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short", timeZone });
  const exact = new Intl.DateTimeFormat(lang, { timeStyle: "medium", hourCycle: "h23", timeZone });
  const zoned = new Intl.DateTimeFormat("en-GB", { timeZone, timeZoneName: "short" });
  let series = Object.fromEntries(NAMES.map((name) => [name, []]));
  let step = 10;
  let plots = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The zone in which the console tells all times; the browser's own where it does not know that one.
  function known(zone) {
    try {
      return new Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone;
    } catch {
      return undefined;
    }
  }

  // As the page tells times: with the day and the zone.
  function moment(at) {
    const zone = zoned.formatToParts(at * 1000).find((part) => part.type === "timeZoneName").value;
    return `${day.format(at * 1000)} ${exact.format(at * 1000)} ${zone}`;
  }

  const minutes = (seconds) => (seconds === null ? null : seconds / 60);

  // As wide as its longest label.
  const wide = (_, labels) => 18 + 7.5 * Math.max(4, ...(labels ?? []).map((each) => each.length));

  function axis(over) {
    return {
      stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
      font: "12px system-ui, sans-serif", ...over,
    };
  }

  function options(place, lines, axes, scales) {
    return {
      width: Math.max(place.clientWidth, 100), height: place.clientHeight, legend: { show: false },
      tzDate: (at) => (timeZone ? uPlot.tzDate(new Date(at * 1000), timeZone) : new Date(at * 1000)),
      padding: [null, 24, null, null],
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      hooks: { setCursor: [(self) => read(place, self.cursor.idx)] },
      scales: { x: { time: true }, ...scales },
      axes: [axis({ values: (_, at) => at.map((each) => (span === "7d" ? day : time).format(each * 1000)), space: 70 }), ...axes],
      series: [{}, ...lines],
    };
  }

  function line(name, label, scale, dash) {
    return { label, scale, stroke: colour(name), width: 2, dash, points: { show: (self) => self.data[0].length < 3, size: 5 }, spanGaps: false };
  }

  const least = (low, high, most) => [0, Math.max(most, high === null ? 0 : high * 1.1)];
  const values = (_, found) => found.map((each) => number.format(each));

  function draw() {
    for (const plot of plots) plot.destroy();
    const orders = (self, low, high) => least(low, high, 5);
    plots = [
      new uPlot(options(flow, [
        line("--in", flow.dataset.in, "y"), line("--out", flow.dataset.out, "y", [8, 4]), line("--third", flow.dataset.dead, "y", [2, 3]),
      ], [axis({ values, size: wide })], { y: { range: orders } }), flowData(), flow),
      new uPlot(options(backlog, [
        line("--in", backlog.dataset.backlog, "y"), line("--third", backlog.dataset.oldest, "age", [2, 3]),
      ], [axis({ values, size: wide }), axis({ values, scale: "age", side: 1, size: wide, grid: { show: false } })],
      { y: { range: orders }, age: { range: orders } }), backlogData(), backlog),
    ];
    spread();
    tell();
  }

  // Over the whole span that was asked for, also where little of it is known yet.
  function spread() {
    const max = series.at.at(-1) ?? Date.now() / 1000;
    const min = Math.min(series.at[0] ?? max, max - LONG[span]);
    for (const plot of plots) plot.setScale("x", { min, max });
  }

  const flowData = () => [series.at, series.accepted, series.delivered, series.dead];
  const backlogData = () => [series.at, series.backlog, series.oldest.map(minutes)];

  // A chart's values at a point, in words.
  function words(place, index) {
    const found = Object.fromEntries(NAMES.map((name) => [name, series[name][index]]));
    found.oldest = minutes(found.oldest);
    return place.dataset.told.replace(/\{(\w+)\}/g, (_, name) => rate(found[name] ?? 0));
  }

  // Under a chart: its values at the crosshair, else the last ones.
  function read(place, index) {
    index ??= series.at.length - 1;
    if (index >= 0) place.nextElementSibling.textContent = `${moment(series.at[index])} · ${words(place, index)}`;
  }

  // What a chart shows last, for who cannot see it, and what it shows at all as a table.
  function tell() {
    for (const place of [flow, backlog]) {
      if (series.at.length) place.setAttribute("aria-label", words(place, series.at.length - 1));
      read(place, plots.find((plot) => place.contains(plot.root))?.cursor.idx);
    }
    if (figures.closest("details").open) figures.replaceChildren(...series.at.map(row).reverse());
  }

  function row(at, index) {
    const line = document.createElement("tr");
    const cells = [...NAMES.slice(1, -1).map((name) => rate(series[name][index])), age(series.oldest[index])];
    const cell = (name, text) => Object.assign(line.appendChild(document.createElement(name)), { textContent: text });
    cell("th", moment(at)).scope = "row";
    for (const each of cells) cell("td", each).className = "n";
    return line;
  }

  const age = (seconds) => (seconds === null ? "\u2013" : number.format(minutes(seconds)));

  function show() {
    if (!plots.length) return;
    plots[0].setData(flowData());
    plots[1].setData(backlogData());
    spread();
    tell();
  }

  async function load() {
    const answer = await fetch(`/live/series?span=${encodeURIComponent(span)}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const found = await answer.json();
    series = Object.fromEntries(NAMES.map((name) => [name, found[name]]));
    step = found.step;
    plots.length ? show() : draw();
  }

  function add(point) {
    const last = series.at.at(-1) ?? 0;
    if (point.at <= last) return;
    if (span !== "1h") {
      if (point.at - last >= step) load();
      return;
    }
    for (const name of NAMES) {
      series[name].push(point[name]);
      if (series[name].length > MOST) series[name].shift();
    }
    show();
  }

  live.addEventListener("sample", (event) => add(JSON.parse(event.detail.data)));

  figures.closest("details").addEventListener("toggle", tell);

  let drawn = 0;
  const redraw = () => {
    cancelAnimationFrame(drawn);
    drawn = requestAnimationFrame(() => plots.length && draw());
  };
  new ResizeObserver(redraw).observe(flow);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  load();
})();
