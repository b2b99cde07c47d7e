// Enhances pages that work without it: times in the reader's zone, live updates, copying, one send per form.
"use strict";

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
let offset = 0; // The server's clock minus this one, in milliseconds: countdowns follow the server's.

// Returns a number as the reader writes it, with as many decimals as it has.
function numberOf(text) {
  return new Intl.NumberFormat(undefined, { minimumFractionDigits: (text.split(".")[1] ?? "").length }).format(text);
}

function lengthOf(milliseconds) {
  const seconds = Math.max(0, milliseconds / 1000);
  if (seconds < 10) return `${numberOf(seconds.toFixed(1))}s`;
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [name, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) parts.push(`${count}${name}`);
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

// Returns the text of a time element for now: a date, the time until it, or the time since it; a try that is due is
// "now".
function textOf(element) {
  const at = Date.parse(element.dateTime);
  if (Number.isNaN(at)) return null;
  const now = Date.now() + offset;
  switch (element.dataset.kind) {
    case "elapsed": return lengthOf(now - at);
    case "countdown": return at > now ? `in ${coarse(at - now)}` : `${coarse(now - at)} ago`;
    case "try": return at > now ? `in ${coarse(at - now)}` : "now";
    default: return full.format(at);
  }
}

function coarse(milliseconds) {
  return milliseconds < 10000 ? `${Math.ceil(milliseconds / 1000)}s` : lengthOf(milliseconds);
}

function tellTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const text = textOf(element);
    if (text !== null && element.textContent !== text) {
      if (!element.title) element.title = element.textContent;
      if (element.dataset.kind) element.title = full.format(Date.parse(element.dateTime));
      element.textContent = text;
    }
  }
}

// Replaces the content of the parts that have changed. What the reader has opened or typed, and where they are,
// stays; a field that is being typed into is left alone until it is left.
const shown = new Map();
const waiting = new Map();
function update(parts, prepare = () => {}) {
  for (const [id, html] of Object.entries(parts)) {
    const part = document.getElementById(id);
    if (!part || shown.get(id) === html) continue;
    if (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) {
      waiting.set(id, [html, prepare]);
      continue;
    }
    shown.set(id, html);
    waiting.delete(id);
    if (id === "state") {
      const notices = document.createElement("div");
      notices.innerHTML = html;
      tellTimes(notices);
      part.dispatchEvent(new CustomEvent("renew", { detail: notices.children }));
      continue;
    }
    // What cannot be used any more stays in its place, so that what is below does not move.
    part.inert = !html.trim() && Boolean(part.firstElementChild);
    if (part.inert) continue;
    const open = [...part.querySelectorAll("details[open][id]")].map((element) => element.id);
    const typed = [...part.querySelectorAll("input[id], textarea[id]")].filter((field) => field.value !== field.defaultValue);
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.innerHTML = html;
    prepare(part);
    for (const name of open) document.getElementById(name)?.setAttribute("open", "");
    for (const { id: name, value } of typed) if (document.getElementById(name)) document.getElementById(name).value = value;
    if (focused) document.getElementById(focused)?.focus();
    enhance(part);
  }
}
addEventListener("focusout", () => setTimeout(() => {
  for (const [id, [html, prepare]] of waiting) update({ [id]: html }, prepare);
}));

// Gives forms that came by the live updates what only this person has: the proof that they are theirs.
function sign(root) {
  const csrf = document.querySelector('header input[name="csrf"]')?.value ?? "";
  for (const field of root.querySelectorAll('input[name="csrf"]')) field.value = csrf;
  for (const field of root.querySelectorAll('input[name="key"]')) field.value = crypto.randomUUID();
}

// Says something about the live updates; "" takes it back.
function tell(text) {
  const state = document.getElementById("live-state");
  state.hidden = !text;
  state.textContent = text;
}

function follow(page) {
  const source = new EventSource(page.dataset.live);
  source.addEventListener("parts", (event) => {
    tell("");
    const message = JSON.parse(event.data);
    offset = Date.parse(message.now) - Date.now();
    document.title = message.title;
    update(message.parts);
  });
  source.addEventListener("sections", (event) => update(JSON.parse(event.data).sections, sign));
  source.addEventListener("end", () => source.close());
  source.onerror = () => {
    // The browser tries again by itself, unless the server has refused: then the session has ended.
    tell(source.readyState === EventSource.CLOSED
      ? "Live updates have ended: reload the page, and sign in again if it asks for that."
      : "The connection is lost. Trying again …");
  };
  addEventListener("pagehide", () => source.close());
}

function enhance(root) {
  tellTimes(root);
  for (const element of root.querySelectorAll("data.number")) element.textContent = numberOf(element.value);
  for (const button of root.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy).textContent;
      try {
        await navigator.clipboard.writeText(text);
        said(button, "Copied");
      } catch {
        said(button, "Select it, and copy");
      }
    });
  }
  // A form that downloads stays, and can be sent again.
  for (const form of root.querySelectorAll('form[method="post"]:not([data-download])')) {
    form.addEventListener("submit", () => {
      // After this turn, because a disabled button would not be sent.
      setTimeout(() => form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-disabled", "true")));
    });
    form.addEventListener("click", (event) => {
      if (event.target.closest('button[aria-disabled="true"]')) event.preventDefault();
    });
  }
  for (const input of root.querySelectorAll("[data-submits]")) {
    input.addEventListener("change", () => input.form.requestSubmit());
  }
  root.querySelectorAll("select[data-slider]").forEach(slide);
  root.querySelectorAll("form[data-check]").forEach(check);
}

// Turns a choice of lengths into a slider; the form still sends the choice.
function slide(select) {
  const range = document.createElement("input");
  const output = document.createElement("output");
  Object.assign(range, { type: "range", min: 0, max: select.options.length - 1, step: 1, value: select.selectedIndex, id: `${select.id}-range` });
  output.htmlFor = range.id;
  const show = () => {
    const text = select.options[select.selectedIndex].text;
    output.textContent = text;
    range.setAttribute("aria-valuetext", text);
  };
  range.addEventListener("input", () => {
    select.selectedIndex = range.valueAsNumber;
    show();
    select.dispatchEvent(new Event("input", { bubbles: true }));
  });
  range.setAttribute("aria-describedby", select.getAttribute("aria-describedby"));
  document.querySelector(`label[for="${select.id}"]`).htmlFor = range.id;
  const slider = document.createElement("div");
  slider.className = "slider narrow";
  slider.append(range, output);
  select.hidden = true;
  select.after(slider);
  show();
}

// Checks a form while it is filled in, and shows the problems beside each field that was touched.
function check(form) {
  const touched = new Set();
  const said = document.getElementById("check");
  let timer = 0;
  let number = 0;
  const ask = async () => {
    const mine = ++number;
    const data = new FormData(form);
    data.delete("action");
    let found;
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(data) });
      if (answer.redirected || !answer.ok) throw new Error(answer.status);
      found = await answer.json();
    } catch {
      found = { errors: [], message: "" };
    }
    if (mine !== number) return;
    const wrong = new Map();
    for (const [field, message] of found.errors) wrong.set(field, [...(wrong.get(field) ?? []), message]);
    for (const place of form.querySelectorAll("[data-error-of]")) {
      const field = place.dataset.errorOf;
      const text = touched.has(field) ? (wrong.get(field) ?? []).join("\n") : "";
      place.textContent = text;
      place.hidden = !text;
      document.getElementById(`field-${field}`).classList.toggle("wrong", Boolean(text));
      form.elements[field].setAttribute("aria-invalid", String(Boolean(text)));
    }
    said.textContent = found.message;
  };
  form.addEventListener("input", (event) => {
    touched.add(event.target.name);
    clearTimeout(timer);
    timer = setTimeout(ask, 400);
  });
}

function said(button, text) {
  const before = button.textContent;
  button.textContent = text;
  setTimeout(() => { button.textContent = before; }, 2000);
}

// A page that the browser keeps for the back button shows buttons as they were when it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// What was typed when a session had ended: it is there again after the sign-in. Only this tab has it.
function keep(form) {
  const name = `typed ${location.pathname}`;
  const typed = JSON.parse(sessionStorage.getItem(name) ?? "{}");
  sessionStorage.removeItem(name);
  if (!document.querySelector(".error-summary, .notice")) {
    for (const [field, value] of Object.entries(typed)) {
      form.elements[field].value = value;
      form.elements[field].dispatchEvent(new Event("change"));
    }
  }
  form.addEventListener("submit", () => {
    const fields = [...form.elements].filter((field) => field.matches("input:not([type=hidden]), select, textarea") && field.name);
    sessionStorage.setItem(name, JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, field.value]))));
  });
}

const sent = document.querySelector('meta[name="server-time"]');
if (sent) offset = Date.parse(sent.content) - Date.now();
const kept = document.querySelector("form[data-check]");
if (kept) keep(kept);
else if (!location.pathname.startsWith("/sign-in")) sessionStorage.clear();
enhance(document);
document.querySelector(".error-summary")?.focus();
const tab = document.querySelector(".tabs [aria-current]");
if (tab) new ResizeObserver(() => {
  tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
}).observe(tab.parentElement);
setInterval(() => tellTimes(document), 1000);
const live = document.querySelector("[data-live]");
if (live) follow(live);
