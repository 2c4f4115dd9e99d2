"use strict";
/* The small picture of a claim: the interval of every case against the bound. */
(function (site) {
  const { el, svg, figure, united } = site;
  /* as in the style sheet */
  const ROW = 36,
    TOP = 22,
    FOOT = 22;

  /* A place between 0 and 1 for every figure; ratios on a log scale, so that half and double are alike. */
  function scale(claim, cases) {
    const limits = Object.values(claim.bounds);
    const all = limits
      .concat(cases.flatMap((one) => [one.value, ...one.interval]))
      .filter((value) => value !== null);
    const log = claim.comparison === "ratio" && all.every((value) => value > 0);
    const to = log ? Math.log : (value) => value;
    const low = Math.min(...all.map(to)),
      high = Math.max(...all.map(to));
    const room = (high - low || Math.abs(high) || 1) * 0.12;
    return {
      log: log,
      at: (value) => (100 * (to(value) - low + room)) / (high - low + 2 * room),
    };
  }
  function percent(value) {
    return Math.max(0, Math.min(100, value)).toFixed(2) + "%";
  }

  function intervals(claim, cases) {
    const { at, log } = scale(claim, cases);
    const height = TOP + ROW * cases.length + FOOT,
      bottom = height - FOOT;
    const label = cases.map((one) => named(one).join(" ") + ": " + figure(one.value)).join("; ");
    const picture = svg("svg", {
      width: "100%",
      height: height,
      role: "img",
      "aria-label":
        "Value and 99% interval of every case against " + site.bounds(claim) + ": " + label,
    });
    const low = claim.bounds.at_least ?? claim.bounds.equals,
      high = claim.bounds.at_most ?? claim.bounds.equals;
    const from = low === undefined ? 0 : at(low),
      to = high === undefined ? 100 : at(high);
    site.add(picture, [
      svg("rect", {
        class: "inside",
        x: percent(from),
        width: percent(to - from),
        y: TOP - 4,
        height: bottom - TOP + 4,
      }),
    ]);
    Object.values(claim.bounds).forEach((value) => {
      const x = percent(at(value)),
        anchor = at(value) > 80 ? "end" : at(value) < 20 ? "start" : "middle";
      site.add(picture, [
        svg("line", { class: "bound", x1: x, x2: x, y1: TOP - 4, y2: bottom }),
        svg(
          "text",
          { x: x, y: TOP - 9, "text-anchor": anchor },
          "bound " + united(value, claim.unit),
        ),
      ]);
    });
    cases.forEach((one, i) => site.add(picture, row(one, at, TOP + ROW * (i + 0.5))));
    const note = "shaded: where the claim holds" + (log ? "; log scale" : "");
    site.add(picture, [svg("text", { x: "100%", y: height - 6, "text-anchor": "end" }, note)]);
    const names = cases.map((one) =>
      el(
        "div",
        {},
        named(one).map((part) => el("div", {}, part)),
      ),
    );
    return el(
      "div",
      { class: "intervals" },
      el("div", { class: "names", "aria-hidden": "true" }, names),
      picture,
    );
  }
  function named(one) {
    return [(one.sizes + " " + one.dtype).trim(), one.machine];
  }
  function row(one, at, y) {
    const [low, high] = one.interval;
    const x1 = low === null ? "0%" : percent(at(low)),
      x2 = high === null ? "100%" : percent(at(high));
    const ends = [
      [low, x1, "\u2190", "start"],
      [high, x2, "\u2192", "end"],
    ].map(([end, x, arrow, anchor]) =>
      end === null
        ? svg("text", { x: x, y: y + 4, "text-anchor": anchor }, arrow)
        : svg("line", { class: "reach " + one.state, x1: x, x2: x, y1: y - 4, y2: y + 4 }),
    );
    return [
      svg("line", { class: "reach " + one.state, x1: x1, x2: x2, y1: y, y2: y }),
      ends,
      svg("circle", { class: one.state, cx: percent(at(one.value)), cy: y, r: 4 }),
    ];
  }

  Object.assign(site, { intervals });
})(window.site);
