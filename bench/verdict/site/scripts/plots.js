"use strict";
/* One plot: drawn in the colours of the page, redrawn when they change, with its figures as a table
   below. Colours are those of Okabe and Ito, which are told apart without colour vision; a plugin has
   one colour and one marker in every plot. */
(function (site) {
  const { data, el, base, table, details, plotly } = site;
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "ink"];
  /* as many as share no factor with the colours */
  const SYMBOLS = [
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "x",
    "star",
    "triangle-down",
  ];
  const NARROW = 620;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let drawn = [];

  function style(id) {
    const known = data.plugins[base(id)];
    /* contestants meet on an op, or as mixers on a task or layer */
    const meets = (one) => one.kind === known.kind && (one.kind === "mixer" || one.op === known.op);
    const peers = Object.keys(data.plugins).filter((one) => known && meets(data.plugins[one]));
    const place = Math.max(0, peers.sort().indexOf(base(id)));
    const plain = known && base(id) === id;
    const look = nth(place);
    return {
      ...look,
      symbol: look.symbol + (plain ? "" : "-open"),
      dash: plain ? "solid" : "dash",
    };
  }
  function nth(place) {
    return { colour: COLOURS[place % COLOURS.length], symbol: SYMBOLS[place % SYMBOLS.length] };
  }
  function theme() {
    const css = getComputedStyle(document.documentElement);
    return Object.fromEntries(
      ["paper", "ink", "faint", "line", "raised", "good", "bad"].map((name) => [
        name,
        css.getPropertyValue("--" + name).trim(),
      ]),
    );
  }

  /* {name, x, y, low, high, text, colour, symbol, dash, width, opacity, lines, marks, group, silent} */
  function trace(one, colours, narrow) {
    const colour = colours[one.colour] || one.colour;
    const marks = one.marks === undefined || one.marks;
    const lines = one.lines === undefined || one.lines;
    const made = {
      type: "scatter",
      name: one.name,
      x: one.x,
      y: one.y,
      text: one.text,
      opacity: one.opacity || 1,
      mode: [lines && "lines", marks && "markers"].filter(Boolean).join("+"),
      line: { color: colour, width: one.width || 1.6, dash: one.dash || "solid" },
      marker: {
        color: colour,
        symbol: one.symbol || "circle",
        size: one.size || 8,
        line: { color: colour, width: (one.symbol || "").includes("-open") ? 2 : 0 },
      },
      showlegend: !one.silent,
      hoverinfo: one.silent ? "skip" : "text",
      /* on a phone the legend has one column, and every name says its group */
      legendgroup: narrow ? undefined : one.group,
      legendgrouptitle: one.titled && !narrow ? { text: one.group } : undefined,
    };
    if (one.low) {
      made.error_y = whiskers(one, colour);
    }
    return made;
  }
  /* an end without bound is not drawn: the table says so */
  function whiskers(one, colour) {
    const reach = (ends, sign) =>
      ends.map((end, i) => (end === null ? 0 : sign * (end - one.y[i])));
    return {
      type: "data",
      symmetric: false,
      array: reach(one.high, 1),
      arrayminus: reach(one.low, -1),
      color: colour,
      thickness: 1.2,
      width: 3,
    };
  }
  function axis(one, colours) {
    const at = one.ticks || (one.log ? ticks(one.values) : undefined);
    return {
      title: { text: one.title, standoff: 8 },
      type: one.log ? "log" : "linear",
      automargin: true,
      gridcolor: colours.line,
      linecolor: colours.faint,
      zerolinecolor: colours.line,
      ticks: "outside",
      tickcolor: colours.faint,
      color: colours.ink,
      rangemode: one.zero ? "tozero" : "normal",
      tickvals: at,
      ticktext: one.texts || (at && at.map(power)),
      range: one.range,
      exponentformat: "SI",
      minexponent: 4,
    };
  }
  /* On a log axis every label is a whole figure: powers of ten, and places between where there are few. */
  function ticks(values) {
    const above = values.filter((value) => value > 0);
    const low = Math.min(...above),
      high = Math.max(...above);
    const decades = Math.log10(high / low);
    const within =
      decades > 5
        ? [1]
        : decades > 1.5
          ? [1, 3]
          : decades > 0.5
            ? [1, 2, 5]
            : [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
    const every = decades > 9 ? 3 : 1;
    const found = [];
    for (let k = Math.floor(Math.log10(low)) - 1; k <= Math.ceil(Math.log10(high)); k += 1) {
      if (k % every === 0) {
        within.forEach((digit) => found.push(Number((digit * 10 ** k).toPrecision(3))));
      }
    }
    return found;
  }
  function power(value) {
    const size = Math.floor(Math.log10(value) + 1e-9);
    if (size >= -3 && size < 4) {
      return site.figure(value);
    }
    const digit = Number((value / 10 ** size).toPrecision(3));
    return (
      (digit === 1 ? "" : digit + "\u00b7") +
      "10<sup>" +
      String(size).replace("-", "\u2212") +
      "</sup>"
    );
  }
  function layout(spec, colours, width) {
    const narrow = width < NARROW;
    const shown = spec.traces.filter((one) => !one.silent);
    const groups = new Set(shown.map((one) => one.group).filter(Boolean)).size;
    const legend = narrow ? shown.length * 19 + 12 : 0;
    const height = Math.max(spec.height || 380, narrow ? 0 : 130 + 21 * shown.length + 26 * groups);
    return {
      height: narrow ? 330 + legend : height,
      width: width,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: {
        family: getComputedStyle(document.body).fontFamily,
        size: narrow ? 11 : 12,
        color: colours.ink,
      },
      margin: {
        l: narrow ? 48 : 64,
        r: narrow ? 8 : 16,
        t: spec.notes && spec.notes.length ? 46 : 14,
        b: narrow ? legend + 46 : 48,
      },
      xaxis: axis(spec.x, colours),
      yaxis: axis(spec.y, colours),
      showlegend: shown.length > 0,
      legend: narrow
        ? {
            orientation: "h",
            x: 0,
            xref: "container",
            xanchor: "left",
            y: 0,
            yref: "container",
            yanchor: "bottom",
            entrywidth: 1,
            entrywidthmode: "fraction",
            font: { size: 11 },
          }
        : { x: 1.02, xanchor: "left", y: 1, font: { size: 12 } },
      hoverlabel: {
        bgcolor: colours.raised,
        bordercolor: colours.line,
        font: { color: colours.ink, size: 12 },
      },
      hovermode: "closest",
      dragmode: narrow ? false : "zoom",
      shapes: (spec.lines || []).map((one) => ({
        type: "line",
        x0: one.x,
        x1: one.x,
        yref: "paper",
        y0: 0,
        y1: 1,
        line: { color: colours[one.colour], width: 1.4, dash: one.dash },
      })),
      annotations: (spec.notes || []).map((one) => ({
        x: one.x,
        yref: "paper",
        y: 1,
        yanchor: "bottom",
        yshift: one.up || 2,
        showarrow: false,
        text: one.text,
        font: { size: 11, color: colours[one.colour] },
      })),
    };
  }

  function draw(place, spec) {
    return plotly().then((library) => {
      const width = place.clientWidth,
        colours = theme();
      /* the reader may have gone on before the library came, or not have opened what holds the plot */
      if (!place.isConnected || !width) {
        return null;
      }
      const marks = spec.traces.map((one) => trace(one, colours, width < NARROW));
      return library.react(place, marks, layout(spec, colours, width), { displayModeBar: false });
    });
  }
  /* spec: {label, x, y, traces, lines, notes, columns, rows, height} */
  function plot(spec) {
    const axes = [
      ["x", spec.x],
      ["y", spec.y],
    ];
    axes.forEach(([name, one]) => {
      one.values = spec.traces.flatMap((each) => each[name]);
    });
    const place = el("div", {
      class: "plot",
      role: "img",
      "aria-label": spec.label,
      "data-traces": spec.traces.length,
    });
    drawn.push(() => draw(place, spec));
    /* a width is there once the page shows it; a plot's own height is no news */
    let width = 0;
    new ResizeObserver(() => {
      if (place.clientWidth !== width) {
        width = place.clientWidth;
        setTimeout(() => draw(place, spec));
      }
    }).observe(place);
    return el(
      "figure",
      {},
      place,
      el("figcaption", {}, spec.label),
      spec.rows.length
        ? details("The same figures as a table", table(spec.columns, spec.rows))
        : null,
    );
  }
  function forget() {
    drawn = [];
  }
  function redraw() {
    drawn.forEach((again) => again());
  }
  dark.addEventListener("change", redraw);

  Object.assign(site, { plot, style, nth, forget });
})(window.site);
