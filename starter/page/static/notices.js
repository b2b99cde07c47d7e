// Places the notices that come by the live updates of an environment's page, so that nothing that is read moves.
"use strict";

const state = document.getElementById("state");
const news = document.getElementById("news");
const box = document.getElementById("new-notices");
const lost = document.getElementById("live-state");
const button = document.getElementById("place-notices");
const root = document.documentElement;
let latest = null;

// A notice that is on the page is renewed in its place, and the place of one that is over stays empty. Those that come
// or grow are at the bottom of the window, until the reader wants them on the page or looks elsewhere.
state.addEventListener("renew", ({ detail }) => {
  latest = [...detail];
  const wanted = new Map(latest.map((notice) => [nameOf(notice), notice]));
  for (const notice of state.children) {
    const name = nameOf(notice);
    const now = wanted.get(name);
    const { height } = notice.getBoundingClientRect();
    notice.style.minHeight = `${height}px`;
    notice.dataset.about = name;
    notice.className = now ? now.className : "notice";
    notice.replaceChildren(...(now ? now.cloneNode(true).childNodes : []));
    const fits = now && notice.getBoundingClientRect().height <= height;
    if (fits) wanted.delete(name);
    else notice.replaceChildren();
    notice.classList.toggle("over", !fits);
  }
  box.replaceChildren(...wanted.values());
  fit();
});

function nameOf(notice) {
  return notice.dataset.about ?? (notice.querySelector("strong") ?? notice).textContent;
}

// Keeps room below the page for the news, so that its end can be read too.
function fit() {
  button.hidden = !box.firstElementChild;
  if (news.scrollHeight > news.clientHeight) news.tabIndex = 0;
  else news.removeAttribute("tabindex");
  const heights = [...news.querySelectorAll("button, .notice")].map(
    (each) => each.offsetHeight && innerHeight - each.getBoundingClientRect().top);
  const room = parseFloat(root.style.getPropertyValue("--news")) || 0;
  root.style.setProperty("--news", `${Math.max(room, ...heights)}px`);
}

// Shows all notices at the top of the page, where a page that is opened now has them.
function place() {
  if (latest) state.replaceChildren(...latest);
  box.replaceChildren();
  root.style.removeProperty("--news");
  fit();
}

new MutationObserver(fit).observe(lost, { attributes: true, attributeFilter: ["hidden"] });
addEventListener("visibilitychange", () => document.hidden && place());
button.addEventListener("click", () => {
  place();
  state.tabIndex = -1;
  state.focus();
  state.scrollIntoView({ block: "center" });
});
