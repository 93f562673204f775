// What the keyboard adds. Every page works without it.
(() => {
  "use strict";
  const typing = (one) => one && (one.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(one.tagName));
  const shown = (one) => one.offsetParent !== null;
  const items = () => [...document.querySelectorAll("[data-list] a.item, [data-list] summary")].filter(shown);

  const walk = (step) => {
    const all = items();
    if (!all.length) return false;
    const here = all.indexOf(document.activeElement);
    if (here < 0 && step < 0) return false;
    all[Math.min(all.length - 1, Math.max(0, here + step))].focus();
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = document.activeElement;
    if (event.key === "/" && !typing(here)) {
      const search = document.querySelector("main input[type=search], .find input[type=search]");
      if (search) {
        search.focus();
        search.select();
        event.preventDefault();
      }
    } else if (event.key === "Escape" && typing(here)) {
      here.blur();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const search = here && here.type === "search";
      if (typing(here) && !(search && event.key === "ArrowDown")) return;
      if (walk(event.key === "ArrowDown" ? 1 : -1)) event.preventDefault();
    }
  });

  // `serve-web` ends when its pages are closed: they say that they are looked at, and that they go.
  if (document.documentElement.hasAttribute("data-beat")) {
    const page = Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(36)).join("");
    const tell = (how) => navigator.sendBeacon(`/web/beat?page=${page}${how}`);
    const beat = () => document.visibilityState === "visible" && tell("");
    setInterval(beat, 20000);
    document.addEventListener("visibilitychange", beat);
    window.addEventListener("pageshow", () => tell(""));
    window.addEventListener("pagehide", () => tell("&left=1"));
  }
})();
