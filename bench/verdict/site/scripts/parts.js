"use strict";
/* Loads what only some pages need: parts of the data, and the library that draws the plots. They
   are scripts of this site, since a page opened from disk may load nothing else. */
(function (site) {
  const { data, el } = site;
  const arriving = {};
  data.parts = {};

  /* A promise of one script, asked for once. */
  function script(place) {
    if (!arriving[place]) {
      arriving[place] = new Promise((resolve, reject) => {
        const node = el("script", { src: place, onload: resolve, onerror: () => reject(place) });
        document.head.appendChild(node);
      });
    }
    return arriving[place];
  }
  function place(name) {
    const [kind, ...rest] = name.split("/");
    return "data/" + kind + "/" + encodeURIComponent(encodeURIComponent(rest.join("/"))) + ".js";
  }
  /* A node that is filled when all named parts are there. */
  function withParts(names, filling) {
    const node = el("div", { "data-waiting": names.join(" ") });
    const fill = (...things) => {
      node.removeAttribute("data-waiting");
      site.add(node, things);
    };
    Promise.all(names.map((name) => data.parts[name] || script(place(name)))).then(
      () => fill(filling(...names.map((name) => data.parts[name]))),
      (lost) => fill(el("p", { class: "warn" }, "This file of the site is gone: " + lost)),
    );
    return node;
  }
  function plotly() {
    return script("vendor/plotly.min.js").then(() => window.Plotly);
  }

  Object.assign(site, { withParts, plotly });
})(window.site);
