"use strict";
/* Elements of every page: links, states, figures with their units, tables. Text is never parsed as
   HTML, and nothing is asked of a server. */
(function (site) {
  const data = window.madbench;
  const SIGNS = {
    PROCEED: ["\u2713", "good"],
    ABANDON: ["\u2717", "bad"],
    DEBUG: ["!", "warn"],
    INCONCLUSIVE: ["?", "open"],
    UNTESTED: ["\u2013", "none"],
    confirmed: ["\u2713", "good"],
    refuted: ["\u2717", "bad"],
    broken: ["!", "warn"],
    inconclusive: ["?", "open"],
    untested: ["\u2013", "none"],
    ok: ["\u2713", "good"],
    wrong: ["\u2717", "bad"],
    unsupported: ["\u2013", "none"],
    "not run": ["\u2013", "none"],
    worse: ["\u2193", "bad"],
    better: ["\u2191", "good"],
    recovered: ["\u21ba", "none"],
    shown: ["\u2013", "none"],
    absent: ["\u2013", "none"],
  };
  const BOUNDS = { at_most: "at most", at_least: "at least", equals: "exactly" };
  const SVG = "http://www.w3.org/2000/svg";

  /* el("a", {href: "#"}, "text", node, [nodes]) */
  function el(tag, given, ...things) {
    return filled(document.createElement(tag), given, things);
  }
  function svg(tag, given, ...things) {
    return filled(document.createElementNS(SVG, tag), given, things);
  }
  function filled(node, given, things) {
    Object.entries(given || {}).forEach(([name, value]) => {
      if (name.startsWith("on")) {
        node.addEventListener(name.slice(2), value);
      } else if (value !== null && value !== undefined) {
        node.setAttribute(name, value);
      }
    });
    return add(node, things);
  }
  function add(node, things) {
    things.forEach((thing) => {
      if (Array.isArray(thing)) {
        add(node, thing);
      } else if (thing !== null && thing !== undefined && thing !== "" && thing !== false) {
        node.appendChild(thing.nodeType ? thing : document.createTextNode(String(thing)));
      }
    });
    return node;
  }
  function replace(node, ...things) {
    node.textContent = "";
    return add(node, things);
  }

  function link(where, text) {
    return el("a", { href: "#/" + where }, text);
  }
  function state(word) {
    const [sign, kind] = SIGNS[word] || ["", "none"];
    return el("span", { class: "state " + kind, "data-sign": sign }, word);
  }
  function commas(nodes) {
    return nodes.flatMap((node, i) => (i ? [", ", node] : [node]));
  }
  function base(id) {
    return id.split("(")[0];
  }
  function plugin(id) {
    const known = data.plugins[base(id)];
    return known ? link("plugin/" + encodeURIComponent(base(id)), id) : el("code", {}, id);
  }
  function machine(name) {
    return data.machines[name] ? link("machine/" + encodeURIComponent(name), name) : name;
  }
  function subject(name) {
    return data.subjects[name] ? link("figures/" + encodeURIComponent(name), name) : name;
  }
  function commit(hash) {
    const short = el("code", { title: hash }, hash.slice(0, 8));
    return data.commit_url ? el("a", { href: data.commit_url + hash }, short) : short;
  }
  function day(when) {
    return when ? when.slice(0, 10) : "";
  }

  /* Whole numbers in full, others to four digits; a unit behind every one. */
  function figure(value) {
    if (value === null || value === undefined) {
      return "unbounded";
    }
    if (Number.isInteger(value) && Math.abs(value) < 1e15) {
      return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
    }
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) {
      return value.toExponential(3);
    }
    return size >= 1e4 ? figure(Math.round(value)) : String(Number(value.toPrecision(4)));
  }
  function united(value, unit) {
    return figure(value) + (unit ? "\u00a0" + unit : "");
  }
  function ends(interval, unit) {
    const [low, high] = interval;
    if (low !== null && low === high) {
      return "exact";
    }
    return (
      (low === null ? "\u2212\u221e" : figure(low)) +
      " to " +
      (high === null ? "\u221e" : united(high, unit))
    );
  }
  function bounds(claim) {
    return Object.entries(claim.bounds)
      .map(([name, value]) => BOUNDS[name] + " " + united(value, claim.unit))
      .join(" and ");
  }
  /* A rate with a prefix: 21.3 GB/s. */
  function rate(value, unit) {
    const prefixes = ["", "k", "M", "G", "T", "P"];
    const step = Math.min(prefixes.length - 1, Math.max(0, Math.floor(Math.log10(value) / 3)));
    return Number((value / 1000 ** step).toPrecision(4)) + "\u00a0" + prefixes[step] + unit;
  }

  function table(columns, rows, kind) {
    const head = el(
      "tr",
      {},
      columns.map((column) => el("th", { scope: "col" }, column)),
    );
    const body = rows.map((cells) =>
      el(
        "tr",
        {},
        cells.map((cell, i) => {
          const blank = cell === "" || cell === null || (Array.isArray(cell) && !cell.length);
          return el("td", { "data-label": columns[i], class: blank ? "blank" : null }, cell);
        }),
      ),
    );
    return el(
      "div",
      { class: "scroll" },
      el("table", { class: kind || "cards" }, el("thead", {}, head), el("tbody", {}, body)),
    );
  }
  function facts(pairs) {
    const shown = pairs.filter(([, value]) => value && value.length !== 0);
    return el(
      "dl",
      {},
      shown.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
    );
  }
  function list(lines) {
    return el(
      "ul",
      {},
      lines.map((line) => el("li", {}, line)),
    );
  }
  function details(summary, ...things) {
    return el("details", {}, el("summary", {}, summary), things);
  }
  function commands(lines) {
    return el("pre", {}, lines.join("\n"));
  }
  function choice(name, label, options, now, chosen) {
    const nodes = options.map(([value, text]) =>
      el("option", { value: value, selected: value === now ? "" : null }, text),
    );
    const select = el(
      "select",
      { name: name, onchange: (event) => chosen(event.target.value) },
      nodes,
    );
    return el("label", {}, label, select);
  }
  function said(value) {
    if (value === null || typeof value !== "object") {
      return String(value);
    }
    if (Array.isArray(value)) {
      return value.map(said).join(", ");
    }
    return Object.entries(value)
      .map(([name, one]) => name.replace("_", " ") + " " + said(one))
      .join(", ");
  }
  function unique(things, of) {
    return Array.from(new Set(things.flatMap(of))).sort();
  }
  function count(number, noun) {
    return number + " " + noun + (number === 1 ? "" : "s");
  }

  function show(name, ...things) {
    document.title = "madbench: " + name;
    site.forget();
    replace(document.getElementById("page"), things);
  }
  function missing() {
    show(
      "Not here",
      el("h1", {}, "There is no such page"),
      el("p", {}, link("verdicts", "All verdicts")),
    );
  }

  Object.assign(site, {
    data,
    el,
    svg,
    add,
    replace,
    link,
    state,
    commas,
    base,
    plugin,
    machine,
    subject,
    commit,
    day,
    figure,
    united,
    ends,
    bounds,
    rate,
    table,
    facts,
    list,
    details,
    commands,
    choice,
    said,
    unique,
    count,
    show,
    missing,
    pages: {},
  });
})((window.site = {}));
