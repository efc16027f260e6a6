"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  for (const one of all(".theme, .layers, .zoom")) one.hidden = false;

  const theme = document.querySelector(".theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const nameTheme = () => { theme.querySelector(".themetext").textContent = isDark() ? "Light theme" : "Dark theme"; };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  system.addEventListener("change", nameTheme);
  nameTheme();

  for (const box of all("[data-layer]")) {
    const apply = () => root.classList.toggle("hide-" + box.dataset.layer, !box.checked);
    box.addEventListener("change", apply);
    apply();
  }

  // In a frame without an address of its own (srcdoc), "#place" would lead to the page around it.
  for (const link of all('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      const place = document.getElementById(link.getAttribute("href").slice(1));
      if (!place) return;
      event.preventDefault();
      place.scrollIntoView();
      if (!place.hasAttribute("tabindex")) place.setAttribute("tabindex", "-1");
      place.focus({ preventScroll: true });
    });
  }

  const box = document.querySelector(".lightbox");
  const shots = all(".shot");
  let current = 0;
  const show = (index) => {
    current = (index + shots.length) % shots.length;
    const shot = shots[current];
    const views = box.querySelector(".lightviews");
    views.replaceChildren(...all(".view", shot).map((view) => {
      const copy = view.cloneNode(true);
      const size = copy.querySelector("svg").viewBox.baseVal;
      copy.style.setProperty("--ratio", size.width / size.height);
      for (const image of all("image", copy)) image.removeAttribute("id");
      return copy;
    }));
    views.classList.toggle("two", views.children.length > 1);
    const head = shot.querySelector(".shothead");
    const gallery = shot.closest(".gallery").querySelector("h3").textContent;
    box.querySelector("#lightbox-title").textContent =
      gallery + " · " + all("b, span", head).map((part) => part.textContent).join(", ");
    const texts = all("figcaption p:not(.shothead)", shot);
    box.querySelector(".lighttext").replaceChildren(...texts.map((text) => text.cloneNode(true)));
  };
  shots.forEach((shot, index) => {
    const open = () => { show(index); box.showModal(); };
    shot.querySelector(".zoom").addEventListener("click", open);
    for (const view of all(".view", shot)) view.addEventListener("click", open);
  });
  if (shots.length) {
    box.querySelector(".prev").addEventListener("click", () => show(current - 1));
    box.querySelector(".next").addEventListener("click", () => show(current + 1));
    box.querySelector(".close").addEventListener("click", () => box.close());
    box.addEventListener("close", () => shots[current].querySelector(".zoom").focus());
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") show(current - 1);
      if (event.key === "ArrowRight") show(current + 1);
    });
  }
})();
