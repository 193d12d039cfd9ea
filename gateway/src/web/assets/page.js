// Keeps the page up to date: the gateway sends the parts that changed, already as HTML. Without this script the page is the
// same, and loads itself again every ten seconds.
"use strict";
(() => {
  const body = document.body;
  const $ = (id) => document.getElementById(id);
  const link = $("link");
  const said = $("said");

  // Makes one element like another and touches only what differs, so that focus, selection and open details stay.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" || name === "hidden")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const now = [...old.childNodes];
    const then = [...fresh.childNodes];
    then.forEach((child, index) => {
      if (now[index]) morph(now[index], child);
      else old.append(child);
    });
    now.slice(then.length).forEach((child) => child.remove());
  }

  function element(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  function take({ parts, order }) {
    for (const [id, html] of Object.entries(parts)) {
      if (id === "title") {
        document.title = html;
        continue;
      }
      const old = $(id);
      const fresh = element(html);
      if (!fresh) continue;
      announce(old, fresh);
      if (old) morph(old, fresh);
      else if (id.startsWith("c-")) document.querySelector(".tunnels")?.append(fresh);
    }
    if (order) arrange(order);
    times(document);
    filter();
  }

  // Tells people who hear the page what changed.
  function announce(old, fresh) {
    const state = fresh.dataset.state;
    if (old && state && old.dataset.state !== state) {
      said.textContent = `${fresh.dataset.name} is ${state}`;
    }
  }

  // The worst tunnel first; those that are gone go.
  function arrange(order) {
    const table = document.querySelector(".tunnels");
    if (!table) return;
    const focused = document.activeElement;
    for (const row of [...table.tBodies]) if (!order.includes(row.id)) row.remove();
    let before = table.tHead;
    for (const id of order) {
      const row = $(id);
      if (!row) continue;
      if (before.nextElementSibling !== row) before.after(row);
      before = row;
    }
    if (focused !== document.activeElement) focused?.focus?.();
  }

  // In the time of whoever reads.
  function times(root) {
    for (const time of root.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      const two = (number) => String(number).padStart(2, "0");
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      const text = `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
      if (time.textContent !== text) time.textContent = text;
      time.title = time.dateTime;
    }
  }

  const input = $("filter");
  function filter() {
    if (!input) return;
    const wanted = input.value.trim().toLowerCase();
    const rows = [...document.querySelectorAll(".tunnels > tbody")];
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    $("none").hidden = rows.length === 0 || rows.some((row) => !row.hidden);
  }
  input?.addEventListener("input", filter);
  input?.form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if (event.key === "/" && input && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
    }
  });

  // Buttons: asked once more where packets are lost, and answered on the page.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    if (form.dataset.asks && !confirm(form.dataset.asks)) return;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      // What somebody wrote into the address is not for scripts.
      const to = new URL(form.action);
      to.username = to.password = "";
      const answer = await fetch(to, {
        method: "POST",
        headers: { Accept: "application/json" },
        body: new URLSearchParams(new FormData(form)),
      });
      const text = await answer.text();
      let message = text;
      try { message = JSON.parse(text).message; } catch { /* a plain sentence */ }
      tell(message, answer.ok);
    } catch {
      tell("the gateway does not answer", false);
    }
    button.disabled = false;
  });

  let quiet;
  function tell(message, good) {
    clearTimeout(quiet);
    link.textContent = message;
    link.hidden = false;
    if (good) quiet = setTimeout(() => { link.hidden = true; }, 6000);
  }

  function lost() {
    if (body.classList.contains("stale")) return;
    body.classList.add("stale");
    const at = new Date().toLocaleTimeString();
    tell(`No answer from ${body.dataset.gateway} since ${at}: what you see may have changed`, false);
  }

  function watch() {
    const source = new EventSource(body.dataset.stream);
    source.addEventListener("parts", (event) => {
      if (body.classList.contains("stale")) link.hidden = true;
      body.classList.remove("stale");
      body.dataset.live = "yes";
      take(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      lost();
      // After an answer that is none the browser does not try again by itself.
      if (source.readyState === EventSource.CLOSED) setTimeout(watch, 5000);
    });
  }

  times(document);
  filter();
  if (body.dataset.stream) watch();
})();
