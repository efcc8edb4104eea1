"use strict";
// The page of one check: a document of verdicts and traces, and one trace and step of it that is shown.
(() => {
  const doc = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const MOST_LANES = 8, MOST_ROWS = 4, PLAY_MS = 900;
  const shown = { trace: 0, step: 0, everything: false, follow: "", timer: 0 };
  let run = null; // the trace that is shown, with every state worked out

  // ---- making elements; text only ever becomes text ------------------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === false || value === null || value === undefined) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== ""));
    return element;
  }

  // New children for a box. If one of the old had the focus, the new one with its key has it, or else the first with a key.
  function refill(box, ...children) {
    const focused = box.contains(document.activeElement) && document.activeElement.dataset.key;
    box.replaceChildren(...children);
    const keyed = focused ? [...box.querySelectorAll("[data-key]")] : [];
    const again = keyed.find((element) => element.dataset.key === focused) || keyed[0];
    if (again) again.focus({ preventScroll: true });
  }

  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const named = (actor) => (actor.startsWith("cpu ") ? "CPU " + actor.slice(4) : actor);
  const address = (trace, step) => (trace ? `#trace-${trace + 1}-step-${step}` : `#step-${step}`);

  // ---- the answer ----------------------------------------------------------------------------------------------------

  function showAnswer() {
    const titles = ["property", "asked", ...doc.useCases].map((text) => make("th", { scope: "col" }, text));
    const head = make("thead", {}, make("tr", {}, titles, make("th", { scope: "col", class: "says" }, "what it says")));
    const body = make("tbody", {}, doc.verdicts.map((v) => make("tr", {},
      make("th", { scope: "row" }, v.property),
      make("td", {}, v.required ? "required" : "exposure"),
      v.cells.map(verdictCell),
      make("td", { class: "note says" }, v.says))));
    $("verdicts").append(head, body);
    for (const [word, says] of doc.facts) $("facts").append(make("dt", {}, word), make("dd", {}, says));
    $("command").textContent = doc.command;
  }

  function verdictCell(cell) {
    const word = cell.trace === null ? cell.text : make("a", { href: address(cell.trace, 0), class: cell.verdict }, cell.text);
    return make("td", { class: cell.verdict }, word, cell.note && make("div", { class: "note" }, cell.note));
  }

  function showTraces() {
    doc.traces.forEach((trace, k) => {
      const first = trace.witness && !(doc.traces[k - 1] || {}).witness;
      if (first) $("traces").append(make("span", { class: "note" }, "shortest runs that put a property to the test:"));
      const steps = `${trace.steps.length} step${trace.steps.length === 1 ? "" : "s"}`;
      $("traces").append(make("a", { href: address(k, 0), class: kindOf(k), id: `to-${k}` },
        `${trace.title}, ${steps}`));
    });
  }

  // A trace that every use case accepts is an exposure.
  function kindOf(number) {
    if (doc.traces[number].witness) return "witness";
    const violates = doc.verdicts.some((v) => v.cells.some((cell) => cell.trace === number && cell.verdict === "violated"));
    return violates ? "violation" : "exposure";
  }

  // ---- a trace and its states ----------------------------------------------------------------------------------------

  function workOut(trace) {
    const states = [{ ...trace.initial }], sites = [trace.sites];
    for (const step of trace.steps) {
      states.push({ ...states[states.length - 1], ...step.changes });
      const before = sites[sites.length - 1];
      sites.push(step.sites.map((site, k) => site || before[k]));
    }
    const acting = new Set(trace.steps.map((step) => step.actor));
    const cpus = trace.actors.filter((actor) => actor.startsWith("cpu "));
    const lanes = cpus.length <= MOST_LANES ? trace.actors
      : trace.actors.filter((actor) => !actor.startsWith("cpu ") || acting.has(actor));
    return { ...trace, states, allSites: sites, lanes, cpus, last: trace.steps.length };
  }

  function showTrace(number) {
    shown.trace = number;
    run = workOut(doc.traces[number]);
    $("trace").hidden = false;
    $("trace-title").textContent = `Trace ${number + 1}: ${run.title}`;
    $("trace-says").textContent = run.witness ? `A shortest run that puts ${run.title} to the test: ${run.says}.`
      : `${kindOf(number) === "violation" ? "Violated" : "Exposed"}: ${run.says}.`;
    $("slider").max = run.last;
    doc.traces.forEach((_, k) => {
      if (k === number) $(`to-${k}`).setAttribute("aria-current", "true");
      else $(`to-${k}`).removeAttribute("aria-current");
    });
    showLanes();
    showFollow();
  }

  function showLanes() {
    const heads = run.lanes.map((actor) => make("th", { class: "lane", scope: "col" },
      make("button", { type: "button", title: `follow ${named(actor)}`, "data-key": actor, onclick: () => follow(`actor ${actor}`) },
        actor.startsWith("cpu ") ? actor.slice(4) : capital(actor).charAt(0), make("span", { class: "hidden" }, ` ${named(actor)}`))));
    const head = make("thead", {}, make("tr", {}, make("th", { class: "number", scope: "col" }, "#"), heads,
      make("th", { scope: "col" }, "step", make("span", { class: "note" }, ` (${legend()})`))));
    const rows = [laneRow(0, null)];
    run.steps.forEach((step, k) => {
      if (run.cycle && k === run.last - run.cycle) rows.push(wholeRow("from here on, for ever:", "loop"));
      rows.push(laneRow(k + 1, step));
    });
    if (run.rests) rows.push(wholeRow("from here on nothing has to happen any more", "loop"));
    rows.push(wholeRow(run.why, run.witness ? "end witness" : "end"));
    if (run.conjunct) rows.push(wholeRow(run.conjunct, ""));
    refill($("lanes"), head, make("tbody", {}, rows));
  }

  const legend = () => [...run.lanes.filter((a) => !a.startsWith("cpu ")).map((a) => `${capital(a).charAt(0)}: ${a}`),
    run.cpus.length ? "numbers: CPUs" : ""].filter(Boolean).join(", ");

  function wholeRow(text, kind) {
    return make("tr", { class: kind }, make("td"), make("td", { colspan: run.lanes.length + 1 }, text));
  }

  function laneRow(number, step) {
    const lanes = run.lanes.map((actor) => {
      const acts = step && step.actor === actor;
      return make("td", { class: acts ? "lane acts" : "lane" }, acts ? "●" : "·");
    });
    const link = make("a", { href: address(shown.trace, number), "data-key": `step ${number}` }, String(number));
    const says = make("td", {}, step ? step.says : "the start", make("div", { class: "print mono" }, printed(number)));
    return make("tr", { id: `row-${number}`, onclick: () => goTo(number) }, make("td", { class: "number" }, link), lanes, says);
  }

  function printed(number) {
    return run.allSites[number].map((site) => {
      const views = site.seen.map((view) => `\n  CPU ${view.cpu} ${run.verb} ${view.bytes.join(" ")}`);
      return `${site.name}: ${site.memory.join(" ")} = ${site.decoded}${views.join("")}`;
    }).join("\n");
  }

  // ---- one step ------------------------------------------------------------------------------------------------------

  function goTo(number) {
    const before = document.querySelector("#lanes tr.current");
    if (before) { before.classList.remove("current"); before.removeAttribute("aria-current"); }
    shown.step = Math.max(0, Math.min(run.last, number));
    const current = $(`row-${shown.step}`);
    current.classList.add("current");
    current.setAttribute("aria-current", "step");
    keepInView($("steps"), current);
    const hash = address(shown.trace, shown.step);
    if (location.hash !== hash) history.replaceState(null, "", hash);
    $("slider").value = shown.step;
    showNow();
    showSites();
    showVariables();
    showSource();
    const ends = changesOf(shown.follow);
    able(shown.step > 0, "first", "back");
    able(shown.step < run.last, "on", "last");
    able(ends.some((k) => k < shown.step), "previous");
    able(ends.some((k) => k > shown.step), "next");
    if (shown.step === run.last) stop();
  }

  // A button that was disabled would lose the focus; one that is only said to be keeps it.
  function able(yes, ...ids) {
    for (const id of ids) $(id).setAttribute("aria-disabled", String(!yes));
  }

  function keepInView(box, element) {
    if (box.scrollHeight <= box.clientHeight) return;
    const head = 30, top = element.offsetTop - head, bottom = element.offsetTop + element.offsetHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }

  function showNow() {
    const step = run.steps[shown.step - 1];
    const count = `Step ${shown.step} of ${run.last}`;
    $("slider").setAttribute("aria-valuetext", count);
    const said = step ? [make("span", { class: "who" }, `${count}, ${named(step.actor)}. `), step.says]
      : [make("span", { class: "who" }, `${count}. `), "The start: nothing has happened yet."];
    if (shown.step === run.last) {
      said.push(make("span", { class: run.witness ? "why witness" : "why", style: "display:block" },
        run.witness ? "" : `${run.title}: `, run.why, run.conjunct ? ` — ${run.conjunct}` : ""));
    }
    $("now").replaceChildren(...said);
  }

  function showSites() {
    const now = run.allSites[shown.step], before = shown.step ? run.allSites[shown.step - 1] : now;
    const boxes = now.map((site, k) => {
      const width = site.memory.length;
      const rows = [byteRow(k, "memory", "memory", site.memory, before[k].memory, width, site.decoded)];
      for (const cpus of viewers(site, before[k])) {
        const cpu = cpus.find((one) => shown.follow.startsWith(`byte ${k} ${one} `)) || cpus[0];
        const view = viewOf(site, cpu), earlier = viewOf(before[k], cpu);
        rows.push(byteRow(k, String(cpu), whoSees(cpus, view || earlier), view ? view.bytes : site.memory,
          earlier ? earlier.bytes : before[k].memory, width, view ? view.runs : "", !view));
      }
      return make("table", { class: "bytes mono" }, make("caption", {}, site.name), make("tbody", {}, rows));
    });
    refill($("sites"), ...boxes);
  }

  const viewOf = (site, cpu) => site.seen.find((view) => view.cpu === cpu);

  // The CPUs of each row: where they are few, each has one. Otherwise those do that see, or have just seen, something other
  // than memory, equal ones together, and the one that acts.
  function viewers(site, before) {
    if (run.cpus.length <= MOST_ROWS) return run.cpus.map((_, cpu) => [cpu]);
    const actor = shown.step && run.steps[shown.step - 1].actor;
    const rows = new Map();
    run.cpus.forEach((name, cpu) => {
      const views = [viewOf(site, cpu), viewOf(before, cpu)], acts = name === actor;
      if (!acts && !views.some(Boolean)) return;
      const key = JSON.stringify([acts, ...views.map((view) => view && view.bytes)]);
      rows.set(key, [...(rows.get(key) || []), cpu]);
    });
    return [...rows.values()];
  }

  function whoSees(cpus, differs) {
    const several = cpus.length > 1, says = several ? run.verb.replace("has ", "have ") : run.verb;
    return `CPU${several ? "s" : ""} ${listed(cpus)}${differs ? ` ${says}` : ""}`;
  }

  // `0, 1 and 3`, `0 to 63 and 65`, as the text report has it.
  function listed(numbers) {
    const parts = [];
    for (const number of numbers) {
      const part = parts[parts.length - 1];
      if (part && part[part.length - 1] + 1 === number) part.push(number);
      else parts.push([number]);
    }
    const said = parts.flatMap((part) => (part.length > 3 ? [`${part[0]} to ${part[part.length - 1]}`] : part.map(String)));
    const last = said.pop();
    return said.length ? `${said.join(", ")} and ${last}` : last;
  }

  function byteRow(site, whose, label, bytes, before, width, runs, same = false) {
    const cells = bytes.length === width ? bytes.map((byte, k) => make("td", {}, byteButton(site, whose, label, byte, k, before)))
      : [make("td", { colspan: width }, bytes.join(" "))];
    return make("tr", { class: same ? "same" : false }, make("th", { scope: "row" }, label), cells,
      make("td", { class: "runs" }, runs ? (whose === "memory" ? `= ${runs}` : `runs ${runs}`) : same ? "as memory" : ""));
  }

  function byteButton(site, whose, label, byte, k, before) {
    const key = `byte ${site} ${whose} ${k}`, changed = before.length > k && before[k] !== byte;
    const kinds = ["byte", changed && "changed", byte.includes("/") && "mixed"].filter(Boolean).join(" ");
    return make("button", { type: "button", class: kinds, "data-key": key,
      "aria-pressed": String(shown.follow === key), "aria-label": `${run.sites[site].name}, ${label}, byte ${k}: ${byte}${changed ? ", changed" : ""}`, title: "follow this byte", onclick: () => follow(key) },
    byte);
  }

  function showVariables() {
    const now = run.states[shown.step], before = shown.step ? run.states[shown.step - 1] : {};
    const changed = (name) => shown.step > 0 && before[name] !== now[name];
    const names = Object.keys(now).filter((name) => shown.everything || changed(name));
    const rows = names.map((name) => make("tr", { class: changed(name) && shown.everything ? "changed" : false },
      make("th", { scope: "row", class: "mono" }, name),
      make("td", { class: "mono" }, changed(name) ? [before[name], make("span", { class: "arrow" }, " → ")] : "", now[name])));
    const nothing = shown.step ? "Nothing changes." : "Choose “everything” to see where it starts.";
    $("variables").replaceChildren(names.length ? make("table", {}, make("tbody", {}, rows)) : make("p", { class: "note" }, nothing));
    $("all").setAttribute("aria-pressed", String(shown.everything));
  }

  // The line of the step, or of the last step before it that has one.
  function showSource() {
    let at = shown.step;
    while (at > 0 && !run.steps[at - 1].where) at -= 1;
    const where = at ? run.steps[at - 1].where : null;
    const file = where && doc.files[where[0]];
    $("source-title").textContent = where ? `Source: ${where[0]}:${where[1]}${at < shown.step ? ", the step before" : ""}` : "Source";
    if (!file) {
      $("source").replaceChildren(make("div", { class: "note" }, where ? "This file is not there any more." : "No step of the strategy yet."));
      return;
    }
    const past = at < shown.step ? "lit past" : "lit";
    const lines = file.lines.map((text, k) => make("div", { class: file.first + k === where[1] ? past : false },
      make("span", { class: "n" }, String(file.first + k)), text));
    $("source").replaceChildren(...lines);
    const lit = $("source").querySelector(".lit");
    if (lit) $("source").scrollTop = Math.max(0, lit.offsetTop - $("source").offsetTop - $("source").clientHeight / 3);
  }

  // ---- following what changes ----------------------------------------------------------------------------------------

  function showFollow() {
    const group = (label, options) => make("optgroup", { label }, options.map(([key, text]) => make("option", { value: key }, text)));
    const changing = Object.keys(run.initial).filter((name) => run.steps.some((step) => name in step.changes));
    const bytes = shown.follow.startsWith("byte ") ? [[shown.follow, byteName(shown.follow)]] : [];
    $("follow").replaceChildren(make("option", { value: "" }, "anything"),
      group("who moves", run.lanes.map((actor) => [`actor ${actor}`, named(actor)])),
      group("bytes", [...run.sites.map((site, k) => [`site ${k}`, site.name]), ...bytes]),
      group("variables", changing.map((name) => [`variable ${name}`, name])));
    if (![...$("follow").options].some((option) => option.value === shown.follow)) shown.follow = "";
    $("follow").value = shown.follow;
  }

  function byteName(key) {
    const [, site, whose, k] = key.split(" ");
    return `${run.sites[site] ? run.sites[site].name : "?"}, ${whose === "memory" ? whose : `CPU ${whose}`}, byte ${k}`;
  }

  function follow(key) {
    shown.follow = shown.follow === key ? "" : key;
    showFollow();
    goTo(shown.step);
  }

  // The numbers of the steps that change what `key` names.
  function changesOf(key) {
    const [kind, ...rest] = key.split(" "), name = rest.join(" ");
    const value = {
      site: (k) => JSON.stringify(run.allSites[k][name]),
      variable: (k) => run.states[k][name],
      byte: (k) => {
        const site = run.allSites[k][rest[0]], view = site && rest[1] !== "memory" && viewOf(site, Number(rest[1]));
        return site && (view ? view.bytes : site.memory)[rest[2]];
      },
    }[kind];
    return run.steps.map((_, k) => k + 1).filter((k) =>
      kind === "" || (kind === "actor" ? run.steps[k - 1].actor === name : value(k) !== value(k - 1)));
  }

  function jump(direction) {
    const found = changesOf(shown.follow).filter((k) => (direction > 0 ? k > shown.step : k < shown.step));
    if (found.length) goTo(direction > 0 ? found[0] : found[found.length - 1]);
  }

  // ---- play, keys, addresses -----------------------------------------------------------------------------------------

  function stop() {
    clearInterval(shown.timer);
    shown.timer = 0;
    $("play").textContent = "play";
  }

  function play() {
    if (shown.timer) return stop();
    if (shown.step === run.last) goTo(0);
    shown.timer = setInterval(() => goTo(shown.step + 1), PLAY_MS);
    $("play").textContent = "pause";
  }

  function other(direction) {
    const number = shown.trace + direction;
    if (doc.traces[number]) { stop(); showTrace(number); goTo(0); }
  }

  function everything() {
    shown.everything = !shown.everything;
    showVariables();
  }

  const KEYS = {
    ArrowLeft: () => goTo(shown.step - 1), k: () => goTo(shown.step - 1),
    ArrowRight: () => goTo(shown.step + 1), j: () => goTo(shown.step + 1),
    Home: () => goTo(0), End: () => goTo(run.last), " ": play,
    ",": () => jump(-1), ".": () => jump(1), "[": () => other(-1), "]": () => other(1), e: everything,
  };

  function onKey(event) {
    const busy = ["SELECT", "INPUT", "TEXTAREA"].includes(event.target.tagName);
    const pressing = event.key === " " && event.target.tagName === "BUTTON";
    if (!KEYS[event.key] || busy || pressing || event.ctrlKey || event.metaKey || event.altKey || !run) return;
    event.preventDefault();
    KEYS[event.key]();
  }

  function onAddress() {
    const found = /^#(?:trace-(\d+))?-?(?:step-(\d+))?$/.exec(location.hash);
    const trace = found && found[1] ? Number(found[1]) - 1 : 0;
    if (!doc.traces.length) return;
    if (run && location.hash && !found) return history.replaceState(null, "", address(shown.trace, shown.step));
    if (!run || trace !== shown.trace) { stop(); showTrace(doc.traces[trace] ? trace : 0); }
    const start = run.witness ? 0 : run.last; // whoever opens the page wants to know what is wrong
    goTo(found ? Number(found[2] || 0) : start);
    if (location.hash && $("controls").getBoundingClientRect().top > innerHeight / 2) $("trace").scrollIntoView();
  }

  function onTheme() {
    const dark = (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    $("theme").textContent = dark ? "dark" : "light";
  }

  const CLICKS = {
    first: () => goTo(0), back: () => goTo(shown.step - 1), on: () => goTo(shown.step + 1), last: () => goTo(run.last),
    play, previous: () => jump(-1), next: () => jump(1), all: everything, theme: onTheme,
  };

  showAnswer();
  showTraces();
  $("page").hidden = $("theme").hidden = false;
  $("theme").textContent = matchMedia("(prefers-color-scheme: dark)").matches ? "light" : "dark";
  for (const [id, does] of Object.entries(CLICKS)) $(id).addEventListener("click", does);
  $("slider").addEventListener("input", () => goTo(Number($("slider").value)));
  $("follow").addEventListener("change", () => { shown.follow = $("follow").value; showFollow(); goTo(shown.step); });
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", onAddress);
  onAddress();
})();
