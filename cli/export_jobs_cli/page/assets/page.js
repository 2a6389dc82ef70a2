// Renews the page without losing the place, and moves in the grid with the arrow keys.
const EVERY_MS = 5000;
const state = document.getElementById("renewal");
const pause = document.getElementById("pause");
const readAt = document.getElementById("read-at");
let main = document.getElementById("main");
let version = null;
let paused = false;
let renewing = false;
let timer = null;

// -- renewing ------------------------------------------------------------------------------------

async function renew() {
  try {
    const headers = version ? { "If-None-Match": version } : {};
    const answer = await fetch(location.pathname + location.search, { headers, cache: "no-store" });
    if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (isSelecting()) {
        return;
      }
      replaceMain(fresh);
      version = answer.headers.get("ETag");
    } else if (answer.status !== 304) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const why = fresh.querySelector(".problem");
      say(`Not renewed: ${why ? why.textContent : answer.statusText}`, true);
      return;
    }
    readAt.textContent = answer.headers.get("X-Read-At");
    say("");
  } catch {
    say("Not renewed: the server does not answer.", true);
  }
}

function replaceMain(fresh) {
  const focused = placeOf(document.activeElement);
  const scrolled = [...main.querySelectorAll("pre")].map((one) => one.scrollLeft);
  const replacement = document.adoptNode(fresh.getElementById("main"));
  main.replaceWith(replacement);
  main = replacement;
  document.title = fresh.title;
  [...main.querySelectorAll("pre")].forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
  prepareGrids();
  if (focused) {
    (elementAt(focused) || main).focus({ preventScroll: true });
  }
}

// Whether somebody is selecting text, to copy a command or an error.
function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

// Where the focus was: the address of a link says more than its place, which may have moved.
function placeOf(element) {
  if (!main.contains(element)) {
    return null;
  }
  const same = element.href ? [...main.querySelectorAll("a")].filter((a) => a.href === element.href) : [];
  const steps = [];
  for (let one = element; one !== main; one = one.parentElement) {
    steps.unshift([...one.parentElement.children].indexOf(one));
  }
  return { href: element.href || null, nth: same.indexOf(element), steps };
}

function elementAt(place) {
  if (place.href) {
    const same = [...main.querySelectorAll("a")].filter((a) => a.href === place.href);
    if (same.length) {
      return same[Math.min(place.nth, same.length - 1)];
    }
  }
  return place.steps.reduce((one, step) => one && one.children[step], main);
}

// Only what changes is said, so that a screen reader does not speak at every renewal.
function say(text, stale = false) {
  if (state.textContent !== text) {
    state.textContent = text;
    state.classList.toggle("stale", stale);
  }
}

async function keepRenewing() {
  if (renewing) {
    return;
  }
  clearTimeout(timer);
  if (!paused && !document.hidden && !isSelecting()) {
    renewing = true;
    await renew();
    renewing = false;
  }
  timer = setTimeout(keepRenewing, EVERY_MS);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Renew" : "Pause";
  say(paused ? "Paused" : "");
  keepRenewing();
});
document.addEventListener("visibilitychange", keepRenewing);
timer = setTimeout(keepRenewing, EVERY_MS);

// -- moving in the grid --------------------------------------------------------------------------

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// One stop of the Tab key for each grid: thousands of marks would be as many stops.
function prepareGrids() {
  for (const grid of document.querySelectorAll(".grid tbody")) {
    grid.querySelectorAll("a").forEach((link, at) => { link.tabIndex = at ? -1 : 0; });
  }
}

function rowsOf(grid) {
  return [...grid.rows].map((row) => [...row.querySelectorAll("a")].filter((a) => a.offsetParent));
}

document.addEventListener("keydown", (event) => {
  const link = event.target.closest && event.target.closest(".grid tbody a");
  const step = STEPS[event.key];
  if (!link || !step || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  const rows = rowsOf(link.closest("tbody"));
  const row = rows.findIndex((one) => one.includes(link));
  const target = step[0] ? inRow(rows, row + step[0], step[0], link) : rows[row][rows[row].indexOf(link) + step[1]];
  if (target) {
    event.preventDefault();
    target.focus();
  }
});

// The nearest link of the next row that has any.
function inRow(rows, at, by, from) {
  while (rows[at] && !rows[at].length) {
    at += by;
  }
  const left = from.getBoundingClientRect().left;
  const distance = (a) => Math.abs(a.getBoundingClientRect().left - left);
  return rows[at] && rows[at].reduce((best, a) => (distance(a) < distance(best) ? a : best));
}

document.addEventListener("focusin", (event) => {
  const link = event.target.closest && event.target.closest(".grid tbody a");
  if (link) {
    link.closest("tbody").querySelectorAll("a").forEach((a) => { a.tabIndex = a === link ? 0 : -1; });
  }
});

prepareGrids();
