"use strict";
/* Draws the site from `madbench` (verdicts.js). No library, no request; text is never parsed as HTML. */
(function () {
  var data = window.madbench;
  var page = document.getElementById("page");
  var SIGNS = {
    PROCEED: ["\u2713", "good"], ABANDON: ["\u2717", "bad"], DEBUG: ["!", "warn"],
    INCONCLUSIVE: ["?", "open"], UNTESTED: ["\u2013", "none"],
    confirmed: ["\u2713", "good"], refuted: ["\u2717", "bad"], broken: ["!", "warn"],
    inconclusive: ["?", "open"], untested: ["\u2013", "none"],
    ok: ["\u2713", "good"], wrong: ["\u2717", "bad"], unsupported: ["\u2013", "none"],
    "not run": ["\u2013", "none"]
  };
  var ORDER = ["PROCEED", "ABANDON", "DEBUG", "INCONCLUSIVE", "UNTESTED"];
  var STATES = ["confirmed", "refuted", "inconclusive", "broken", "untested"];
  var BOUNDS = {at_most: "at most", at_least: "at least", equals: "exactly"};
  var SVG = "http://www.w3.org/2000/svg";
  var NO_PLUGIN = "no plugin yet";
  var wish = {family: "", verdict: "", machine: "", text: "", sort: "verdict", down: false};

  /* el("a", {href: "#"}, "text", node, [nodes]) */
  function el(tag, given) {
    var node = document.createElement(tag);
    Object.keys(given || {}).forEach(function (name) {
      if (name.slice(0, 2) === "on") { node.addEventListener(name.slice(2), given[name]); }
      else if (given[name] !== null && given[name] !== undefined) { node.setAttribute(name, given[name]); }
    });
    add(node, Array.prototype.slice.call(arguments, 2));
    return node;
  }
  function add(node, things) {
    things.forEach(function (thing) {
      if (Array.isArray(thing)) { add(node, thing); }
      else if (thing !== null && thing !== undefined && thing !== "") {
        node.appendChild(thing.nodeType ? thing : document.createTextNode(String(thing)));
      }
    });
  }
  function link(where, text) { return el("a", {href: "#/" + where}, text); }
  function state(word) {
    var sign = SIGNS[word] || ["", "none"];
    return el("span", {"class": "state " + sign[1], "data-sign": sign[0]}, word);
  }
  function commas(nodes) {
    return nodes.reduce(function (all, node, i) { return all.concat(i ? [", "] : [], [node]); }, []);
  }
  function base(id) { return id.split("(")[0]; }
  function plugin(id) {
    return data.plugins[base(id)] ? link("plugin/" + encodeURIComponent(base(id)), id) : el("code", {}, id);
  }
  function machine(name) { return link("machine/" + encodeURIComponent(name), name); }
  function commit(hash) {
    var short = el("code", {title: hash}, hash.slice(0, 8));
    return data.commit_url ? el("a", {href: data.commit_url + hash}, short) : short;
  }
  function day(when) { return when ? when.slice(0, 10) : ""; }

  /* Figures: whole numbers in full, others to four digits; a unit behind every one. */
  function figure(value) {
    if (value === null || value === undefined) { return "unbounded"; }
    if (Number.isInteger(value) && Math.abs(value) < 1e15) {
      return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
    }
    var size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) { return value.toExponential(3); }
    return size >= 1e4 ? figure(Math.round(value)) : String(Number(value.toPrecision(4)));
  }
  function united(value, unit) { return figure(value) + (unit ? "\u00a0" + unit : ""); }
  function ends(interval, unit) {
    if (interval[0] !== null && interval[0] === interval[1]) { return "exact"; }
    return (interval[0] === null ? "\u2212\u221e" : figure(interval[0])) + " to " +
      (interval[1] === null ? "\u221e" : united(interval[1], unit));
  }
  function bounds(claim) {
    return Object.keys(claim.bounds).map(function (name) {
      return BOUNDS[name] + " " + united(claim.bounds[name], claim.unit);
    }).join(" and ");
  }
  function wanted(claim) {
    var who = claim.against ? [plugin(claim.plugin), claim.comparison === "ratio" ? " / " : " \u2212 ",
      plugin(claim.against)] : [plugin(claim.plugin)];
    var over = claim.over ? ", growth with " + claim.over : "";
    return [claim.metric, " of ", who, over, ": ", bounds(claim)];
  }
  function table(columns, rows, kind) {
    var head = el("tr", {}, columns.map(function (column) { return el("th", {}, column); }));
    var body = rows.map(function (cells) {
      return el("tr", {}, cells.map(function (cell, i) {
        var blank = cell === "" || cell === null || (Array.isArray(cell) && !cell.length);
        return el("td", {"data-label": columns[i], "class": blank ? "blank" : null}, cell);
      }));
    });
    return el("div", {"class": "scroll"},
      el("table", {"class": kind || "cards"}, el("thead", {}, head), el("tbody", {}, body)));
  }
  function facts(pairs) {
    var shown = pairs.filter(function (pair) { return pair[1] && pair[1].length !== 0; });
    return el("dl", {}, shown.map(function (pair) { return [el("dt", {}, pair[0]), el("dd", {}, pair[1])]; }));
  }
  function list(lines) { return el("ul", {}, lines.map(function (line) { return el("li", {}, line); })); }
  function said(value) {
    if (value === null || typeof value !== "object") { return String(value); }
    if (Array.isArray(value)) { return value.map(said).join(", "); }
    return Object.keys(value).map(function (name) { return name.replace("_", " ") + " " + said(value[name]); }).join(", ");
  }

  /* The list of all proposals. */
  var COLUMNS = {
    id: ["no.", function (one) { return one.id; }],
    title: ["title", function (one) { return title(one); }],
    family: ["family", function (one) { return one.family; }],
    verdict: ["verdict", function (one) { return [ORDER.indexOf(one.verdict), one.claims_file ? 0 : 1, one.id].join(); }],
    reported: ["reported before", function (one) { return one.status || ""; }],
    reproduced: ["reproduced", function (one) { return reproduced(one); }],
    machine: ["machine", function (one) { return one.machines.join(" "); }],
    committed: ["committed", function (one) { return one.committed || ""; }]
  };
  function title(one) { return one.title || "without a title"; }
  function reproduced(one) {
    if (!one.reproduced) { return ""; }
    var words = STATES.filter(function (name) { return one.reproduced[name]; });
    return words.map(function (name) { return one.reproduced[name] + " " + name; }).join(", ");
  }
  function rule(one) { return one.rule.split(":")[0]; }
  function why(one) { return one.claims_file ? one.rule : NO_PLUGIN; }

  function verdicts() {
    var body = el("tbody", {});
    var count = el("p", {"class": "faint", "aria-live": "polite"});
    var heads = {};
    function fits(one) {
      var text = (one.id + " " + title(one)).toLowerCase();
      return (!wish.family || one.family === wish.family) && (!wish.verdict || one.verdict === wish.verdict) &&
        (!wish.machine || one.machines.indexOf(wish.machine) >= 0) && text.indexOf(wish.text.toLowerCase()) >= 0;
    }
    function draw() {
      var key = COLUMNS[wish.sort][1];
      var rows = data.proposals.filter(fits).sort(function (a, b) {
        var x = key(a), y = key(b);
        /* what is empty stays last, whichever way is sorted */
        if (!x !== !y) { return x ? -1 : 1; }
        if (x === y) { return a.id < b.id ? -1 : 1; }
        return (x < y ? -1 : 1) * (wish.down ? -1 : 1);
      });
      body.textContent = "";
      rows.forEach(function (one) { body.appendChild(row(one)); });
      count.textContent = rows.length + " of " + data.proposals.length + " proposals";
      Object.keys(heads).forEach(function (name) {
        var now = wish.sort === name;
        heads[name].setAttribute("aria-sort", now ? (wish.down ? "descending" : "ascending") : "none");
        heads[name].firstChild.textContent = COLUMNS[name][0] + (now ? (wish.down ? " \u25be" : " \u25b4") : "");
      });
    }
    function row(one) {
      var cells = [link("proposal/" + one.id, one.id), link("proposal/" + one.id, title(one)), one.family,
        [state(one.verdict), el("span", {"class": "ends"}, why(one))], one.status || "", reproduced(one),
        commas(one.machines.map(machine)), day(one.committed)];
      return el("tr", {"data-proposal": one.id, "data-verdict": one.verdict}, cells.map(function (cell, i) {
        var name = Object.keys(COLUMNS)[i];
        var blank = cell === "" || (Array.isArray(cell) && !cell.length);
        return el("td", {"data-label": COLUMNS[name][0], "class": blank ? "blank" : null}, cell);
      }));
    }
    function choice(name, label, values) {
      var options = [el("option", {value: ""}, "all")].concat(values.map(function (value) {
        return el("option", {value: value, selected: wish[name] === value ? "" : null}, value);
      }));
      return el("label", {}, label, el("select", {
        name: name, onchange: function (event) { wish[name] = event.target.value; draw(); }
      }, options));
    }
    function head(name) {
      heads[name] = el("th", {scope: "col"}, el("button", {type: "button", onclick: function () {
        wish.down = wish.sort === name && !wish.down;
        wish.sort = name;
        draw();
      }}, COLUMNS[name][0]));
      return heads[name];
    }
    var tally = ORDER.map(function (name) {
      var hits = data.proposals.filter(function (one) { return one.verdict === name; }).length;
      return el("span", {}, hits, " ", state(name));
    });
    var search = el("input", {type: "search", value: wish.text, size: 16, oninput: function (event) {
      wish.text = event.target.value;
      draw();
    }});
    show("Verdicts", el("h1", {}, "Which proposals are worth a GPU?"),
      el("p", {}, "Every verdict follows from measurements by a ", link("reading", "named rule"),
        "; open a proposal for its claims, the evidence and the commands that take it again."),
      el("div", {"class": "tally"}, tally),
      el("div", {"class": "filters"},
        choice("family", "family", unique(data.proposals, function (one) { return [one.family]; })),
        choice("verdict", "verdict", ORDER),
        choice("machine", "machine", unique(data.proposals, function (one) { return one.machines; })),
        el("label", {}, "number or title", search)),
      count,
      el("div", {"class": "scroll"}, el("table", {id: "verdicts", "class": "cards"},
        el("thead", {}, el("tr", {}, Object.keys(COLUMNS).map(head))), body)),
      el("p", {"class": "faint"}, "Reproduced: of the claims about which a figure was reported before, how many ",
        "came out how when measured here. What was reported is never counted as a result."));
    draw();
  }
  function unique(things, of) {
    var seen = {};
    things.forEach(function (thing) { of(thing).forEach(function (name) { seen[name] = true; }); });
    return Object.keys(seen).sort();
  }

  /* One proposal. */
  function proposal(id) {
    var one = data.proposals.filter(function (each) { return each.id === id; })[0];
    if (!one) { return missing(); }
    var named = rule(one);
    show(one.id + " " + title(one), el("p", {}, link("verdicts", "\u2190 all proposals")),
      el("h1", {}, one.id, " ", title(one)),
      facts([
        ["verdict", [state(one.verdict)]],
        ["rule", [el("code", {}, one.rule), " ", el("span", {"class": "faint"}, data.rules[named])]],
        ["missing", one.claims_file ? one.missing.map(lack) : NO_PLUGIN + ": no claims file names one"],
        ["family", one.family],
        ["reported before", one.status],
        ["reproduced", reproduced(one)],
        ["priority then", one.priority]
      ]),
      one.hypothesis ? [el("h2", {}, "Hypothesis"), el("p", {}, one.hypothesis)] : null,
      one.claims.length ? [el("h2", {}, "Claims"), one.claims.map(claim)] : null,
      one.plugins.length ? [el("h2", {}, "Plugins"), contestants(one.plugins)] : null,
      el("h2", {}, "Run it again"),
      el("pre", {}, (one.claims_file ? "madbench judge " : "madbench show ") + one.id),
      one.reported ? [el("h2", {}, "What was reported before, measured by others"), reports(one.reported)] : null,
      ["contradictions", "lessons", "notes"].map(function (name) {
        return one[name] ? [el("h2", {}, name.charAt(0).toUpperCase() + name.slice(1) +
          (name === "notes" ? "" : " in those reports")), list(one[name])] : null;
      }));
  }
  function lack(one) {
    var where = one.machine ? " on " + one.machine.join(", ") : "";
    var how = one.suite ? "; suite " + one.suite + " measures it" +
      (one.seconds ? ", at least " + Math.ceil(one.seconds) + "\u00a0s" : "") : "; no suite measures it yet";
    return el("div", {}, el("code", {}, one.claim), where + ": " + one.reason + how);
  }
  function claim(one) {
    var first = one.evidence[0];
    var verdict = first && one.state !== "broken" ?
      [united(first.value, one.unit), " (", one.value === first.interval[0] && first.interval[0] === first.interval[1] ?
        "exact" : "99% interval " + ends(first.interval, one.unit), ")"] : null;
    return el("section", {"class": "claim", "data-claim": one.id},
      el("h3", {}, one.says),
      facts([
        ["state", [state(one.state), one.role === "background" ? ": background, decides nothing" : ": " + one.role + " claim"]],
        [(one.modelled ? "modelled " : "measured ") + one.comparison, verdict],
        ["judged", wanted(one)],
        ["scope", said(one.where) || "every problem, every machine"],
        ["broken", one.broken], ["stopped holding", one.stopped ? ["at ", commit(one.stopped)] : null],
        ["source", one.source]
      ]),
      first && one.state !== "broken" ? evidence(one) : null,
      one.reported.length ? [el("h3", {}, "Reported before"), reports(one.reported)] : null,
      one.rerun.length ? el("details", {}, el("summary", {}, "Run it again"), el("pre", {}, one.rerun.join("\n"))) : null);
  }
  function evidence(one) {
    var rows = one.evidence.map(function (each) {
      return [[state(each.state)], united(each.value, one.unit), ends(each.interval, one.unit), bounds(one),
        [machine(each.machine), each.kind !== "cpu" ? " (" + each.kind + ")" : ""],
        el("code", {}, (each.sizes + " " + each.dtype).trim()), [commit(each.commit), " ", day(each.committed)]];
    });
    var columns = ["case", "value", "99% interval", "bound", "machine", "problem", "commit"];
    var shown = table(columns, rows.slice(0, 4));
    return rows.length <= 4 ? shown : [shown, el("details", {},
      el("summary", {}, (rows.length - 4) + " more cases"), table(columns, rows.slice(4)))];
  }
  function reports(rows) {
    var columns = ["entry", "metric", "value", "unit", "setting", "outcome"].filter(function (name) {
      return rows.some(function (row) { return row[name] !== undefined; });
    });
    return table(columns, rows.map(function (row) {
      return columns.map(function (name) {
        var value = row[name];
        return value === undefined ? "" : typeof value === "number" ? String(value) : said(value);
      });
    }));
  }
  function contestants(ids) {
    return table(["plugin", "contract", "computes", "what it is"], ids.map(function (id) {
      var one = data.plugins[base(id)];
      return one ? [plugin(id), contract(one), one.op || one.kind, one.about.split("\n")[0]] :
        [el("code", {}, id), "", "", "not in this tree"];
    }));
  }
  function contract(one) {
    if (!one.contract.length) { return state("not run"); }
    return one.contract.map(function (each) {
      return el("div", {}, state(each.outcome), " on ", machine(each.machine), " at ", commit(each.commit),
        each.reason ? el("span", {"class": "ends"}, each.reason) : null);
    });
  }

  /* One plugin. */
  function onePlugin(id) {
    var one = data.plugins[id];
    if (!one) { return missing(); }
    var used = data.proposals.filter(function (each) { return each.plugins.map(base).indexOf(id) >= 0; });
    var sizes = example(id);
    show(id, el("h1", {}, id),
      el("pre", {"class": "wrap"}, one.about),
      facts([
        ["contract", contract(one)],
        [one.kind === "mixer" ? "kind" : "computes", one.op ? link("figures/" + one.op, one.op) : one.kind],
        ["published in", one.source], ["runs on", one.backend], ["needs", one.needs.join(", ")],
        ["accepts", said(one.accepts)], ["knobs", said(one.knobs)],
        ["excused", Object.keys(one.excuses).map(function (name) {
          return el("div", {}, el("code", {}, name), ": " + one.excuses[name]);
        })],
        ["proposals", used.map(function (each) {
          return el("div", {}, link("proposal/" + each.id, each.id + " " + title(each)), " ", state(each.verdict));
        })],
        ["file", el("code", {}, one.file + ":" + one.line)]
      ]),
      el("h2", {}, "Run it again"),
      el("pre", {}, "madbench check " + id + sizes),
      data.files[one.file] ? [el("h2", {}, "Source"), el("p", {"class": "faint"}, "As it stood when the site was built."),
        el("details", {}, el("summary", {}, one.file), el("pre", {}, data.files[one.file]))] : null);
  }
  function example(id) {
    var lines = [];
    data.tables.forEach(function (each) {
      each.rows.forEach(function (row) {
        if (base(row.plugin) === id && (row.figures.traffic || row.figures.time) && lines.length < 3) {
          lines.push("\nmadbench measure " + row.plugin + " --metric " + (row.figures.time ? "time" : "traffic") +
            " --sizes " + each.sizes + " --dtype " + each.dtype + " --machine " + each.kind);
        }
      });
    });
    return lines.join("");
  }

  /* Figures side by side. */
  function figures(subject) {
    var subjects = unique(data.tables, function (one) { return [one.subject]; });
    if (!subject) {
      show("Side by side", el("h1", {}, "Side by side"),
        el("p", {}, "Every contestant of an op or task at the newest commit at which it was measured. Modelled and ",
          "measured figures stand in columns of their own; what fails its contract has none."),
        subjects.length ? table(["op or task", "machines", "problems"], subjects.map(function (name) {
          var mine = data.tables.filter(function (one) { return one.subject === name; });
          return [link("figures/" + encodeURIComponent(name), name),
            commas(unique(mine, function (one) { return [one.machine]; }).map(machine)), mine.length];
        })) : el("p", {}, "Nothing has been measured yet: run ", el("code", {}, "make bench"), "."));
      return;
    }
    if (subjects.indexOf(subject) < 0) {
      return show(subject, el("h1", {}, subject), el("p", {}, "Nothing has been measured yet."));
    }
    var mine = data.tables.filter(function (one) { return one.subject === subject; });
    show(subject, el("p", {}, link("figures", "\u2190 all ops and tasks")), el("h1", {}, subject), mine.map(side));
  }
  function side(one) {
    var groups = [["measured", false], ["modelled", true]].map(function (group) {
      return [group[0], one.columns.filter(function (name) { return data.metrics[name].modelled === group[1]; })];
    }).filter(function (group) { return group[1].length; });
    var columns = groups.reduce(function (all, group) { return all.concat(group[1]); }, []);
    function edge(name) {
      return groups.some(function (group) { return group[1][0] === name; }) ? " first" : "";
    }
    var heads = [el("tr", {}, el("th", {colspan: 2}), groups.map(function (group) {
      return el("th", {"class": "group", colspan: group[1].length, scope: "colgroup"}, group[0]);
    })), el("tr", {}, el("th", {}, "plugin"), el("th", {}, "contract"), columns.map(function (name) {
      var metric = data.metrics[name];
      return el("th", {"class": "figure" + edge(name), title: metric.says, scope: "col"}, name, el("br"), metric.unit);
    }))];
    var rows = one.rows.map(function (row) {
      var cells = [el("td", {}, plugin(row.plugin)), el("td", {}, state(row.contract))];
      var shown = columns.map(function (name) {
        var cell = row.figures[name];
        return cell ? el("td", {"class": "figure" + edge(name), title: cell.samples + " samples"}, figure(cell.value),
          data.metrics[name].exact ? null : el("span", {"class": "ends"}, ends(cell.interval, ""))) :
          el("td", {"class": "figure" + edge(name)}, "");
      });
      if (!Object.keys(row.figures).length && columns.length) {
        shown = [el("td", {"class": "first", colspan: columns.length}, outcome(row))];
      }
      return el("tr", {"data-plugin": row.plugin, "data-contract": row.contract}, cells, shown);
    });
    return el("section", {}, el("h2", {}, one.sizes === one.subject ? "" : one.sizes + " ", one.dtype),
      el("p", {"class": "faint"}, "on ", machine(one.machine), one.kind === "cpu" ? "" : " for " + one.kind,
        ", suite " + one.suite + ", commit ", commit(one.commit), " of " + day(one.committed) +
        "; below a figure its 99% interval, none below an exact one"),
      el("div", {"class": "scroll"}, el("table", {"class": "side"}, el("thead", {}, heads), el("tbody", {}, rows))),
      notes(one), history(one));
  }

  /* One small curve a contestant, from zero, with its intervals; what fails its contract has no point. */
  function history(one) {
    var names = Object.keys(data.metrics).filter(function (name) { return one.history[name]; });
    if (!names.length) { return null; }
    var place = el("div", {});
    function draw(name) {
      var unit = data.metrics[name].unit, series = one.history[name];
      place.textContent = "";
      add(place, [table(["plugin", one.commits.length + " commits, from zero up", "oldest", "newest"],
        Object.keys(series).map(function (who) {
          var points = series[who], last = points[points.length - 1];
          var now = one.rows.filter(function (row) { return row.plugin === who; })[0];
          return [plugin(who), curve(points, one.commits.length), dated(points[0]),
            now && now.contract === "wrong" ? state("wrong") : dated(last)];
        }))]);
      function dated(point) {
        return [united(point[1], unit), el("span", {"class": "ends"}, commit(one.commits[point[0]][0]), " ",
          day(one.commits[point[0]][1]))];
      }
    }
    var options = names.map(function (name) { return el("option", {value: name}, name); });
    var choice = el("select", {name: "metric", onchange: function (event) { draw(event.target.value); }}, options);
    draw(names[0]);
    return el("details", {"class": "history"}, el("summary", {}, "History over " + one.commits.length + " commits"),
      el("div", {"class": "filters"}, el("label", {}, "metric", choice)), place);
  }
  function curve(points, commits) {
    var width = 300, height = 48, edge = 4;
    var most = Math.max.apply(null, points.map(function (point) { return Math.max(point[1], point[3] || 0); })) || 1;
    function x(point) { return (edge + (width - 2 * edge) * point[0] / (commits - 1)).toFixed(1); }
    function y(value) { return (height - edge - (height - 2 * edge) * Math.max(value, 0) / most).toFixed(1); }
    var picture = svg("svg", {viewBox: "0 0 " + width + " " + height, width: width, height: height, role: "img",
      "aria-label": points.map(function (point) { return figure(point[1]); }).join(", ")});
    picture.appendChild(svg("polyline", {points: points.map(function (point) { return x(point) + "," + y(point[1]); }).join(" ")}));
    points.forEach(function (point) {
      if (point[2] !== null && point[3] !== null && point[2] < point[3]) {
        picture.appendChild(svg("line", {x1: x(point), x2: x(point), y1: y(point[2]), y2: y(point[3])}));
      }
      picture.appendChild(svg("circle", {cx: x(point), cy: y(point[1]), r: 2.5}));
    });
    return picture;
  }
  function svg(tag, given) {
    var node = document.createElementNS(SVG, tag);
    Object.keys(given).forEach(function (name) { node.setAttribute(name, given[name]); });
    return node;
  }
  function outcome(row) {
    var first = row.reasons[0];
    if (row.contract === "wrong") { return "fails its contract: no figures" + (first && first.reason ? ". " + first.reason : ""); }
    return first ? first.outcome + ": " + first.reason : "its contract was not run here: no figures";
  }
  function notes(one) {
    var lines = [];
    one.rows.forEach(function (row) {
      var excuses = (data.plugins[base(row.plugin)] || {excuses: {}}).excuses;
      Object.keys(excuses).forEach(function (name) {
        lines.push([el("code", {}, row.plugin), " is excused from ", el("code", {}, name), ": " + excuses[name]]);
      });
      if (Object.keys(row.figures).length) {
        row.reasons.forEach(function (each) {
          lines.push([el("code", {}, row.plugin), " has no " + (each.metric || "figure") + ": " + each.outcome +
            (each.reason ? ", " + each.reason : "")]);
        });
      }
    });
    return lines.length ? el("details", {}, el("summary", {}, "Excuses and missing figures (" + lines.length + ")"), list(lines)) : null;
  }

  /* Machines. */
  function machines(name) {
    if (!name) {
      var names = Object.keys(data.machines).sort();
      return show("Machines", el("h1", {}, "Machines"),
        el("p", {}, "A machine is named after its processor or card; its figures speak for no other."),
        names.length ? table(["machine", "processor", "GPU", "newest commit"], names.map(function (each) {
          var one = data.machines[each], run = one.runs[0];
          return [machine(each), one.facts.cpu || "", one.facts.gpu || "none",
            run ? [commit(run.commit), " " + day(run.committed)] : ""];
        })) : el("p", {}, "No machine has results yet: run ", el("code", {}, "make bench"), "."));
    }
    var one = data.machines[name];
    if (!one) { return missing(); }
    show(name, el("p", {}, link("machines", "\u2190 all machines")), el("h1", {}, name),
      facts(Object.keys(one.facts).sort().map(function (key) { return [key.replace("_", " "), String(one.facts[key])]; })),
      el("h2", {}, "Measured here"),
      table(["commit", "date", "figures", "software"], one.runs.map(function (run) {
        return [commit(run.commit), day(run.committed), figure(run.figures), run.stack];
      })));
  }

  function reading() {
    var says = {
      confirmed: "the whole 99% interval lies inside the bounds, in every case measured on some machine",
      refuted: "the whole interval of some case lies outside the bounds",
      inconclusive: "an interval lies on both sides of a bound",
      broken: "a contestant fails its contract, so it has no figures",
      untested: "nothing that the claim speaks about has been measured"
    };
    show("How to read", el("h1", {}, "How to read this"),
      el("h2", {}, "States of a claim"),
      table(["state", "meaning"], STATES.map(function (name) { return [[state(name)], says[name]]; })),
      el("h2", {}, "Rules behind the verdicts"),
      table(["rule", "applies when"], Object.keys(data.rules).map(function (name) {
        return [el("code", {}, name), data.rules[name]];
      })),
      el("h2", {}, "Metrics"),
      table(["metric", "unit", "come by", "better", "what it is"], Object.keys(data.metrics).map(function (name) {
        var metric = data.metrics[name];
        return [el("code", {}, name), metric.unit, metric.way + (metric.modelled ? " (modelled)" : ""),
          metric.higher_is_better ? "higher" : "lower", metric.says];
      })));
  }

  function missing() { show("Not here", el("h1", {}, "There is no such page"), el("p", {}, link("verdicts", "All verdicts"))); }
  function show(name) {
    document.title = "madbench: " + name;
    page.textContent = "";
    add(page, Array.prototype.slice.call(arguments, 1));
  }
  var PAGES = {
    verdicts: verdicts, proposal: proposal, plugin: onePlugin, figures: figures, machines: machines,
    machine: machines, reading: reading
  };
  var TABS = {proposal: "verdicts", machine: "machines"};
  function route() {
    var hash = location.hash;
    /* links of asv's feed name one of its own pages */
    if (/^#\/?((kernels|tasks|static)\.|summarylist|regressions|graphdisplay)/.test(hash)) {
      location.replace("asv.html" + hash);
      return;
    }
    var parts = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    var name = parts[0] || "verdicts";
    Array.prototype.forEach.call(document.querySelectorAll("nav a"), function (tab) {
      var now = tab.getAttribute("href") === "#/" + (TABS[name] || name);
      if (now) { tab.setAttribute("aria-current", "page"); } else { tab.removeAttribute("aria-current"); }
    });
    (PAGES.hasOwnProperty(name) ? PAGES[name] : missing)(parts.slice(1).join("/"));
    window.scrollTo(0, 0);
  }
  window.addEventListener("hashchange", route);
  route();
})();
