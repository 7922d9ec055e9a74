// SPDX-License-Identifier: MIT
// The flame graph's behaviour: zoom, search, details, keys, resizing. Without it (in an image
// viewer) the picture stands as it was drawn.
(() => {
"use strict";
const svg = document.currentScript.closest("svg"), doc = document;
const $ = id => doc.getElementById(id);
const ROW = 18, PAD = 10, CHAR = 7.23, UNIT = svg.dataset.unit;
const alone = doc.documentElement === svg;

// Frames in depth-first order: their weights are in data-v, their place in the tree follows.
const F = [];
for (const g of $("f").children) {
	const [depth, start, weight, self] = g.dataset.v.split(" ").map(Number);
	const title = g.querySelector("title");
	let up = F.length - 1;
	while (up >= 0 && F[up].depth >= depth)
		up = F[up].up;
	F.push({ g, depth, start, weight, self, up, title, name: title.textContent,
		 module: g.dataset.m || "", rect: g.querySelector("rect"),
		 text: g.querySelector("text"), i: F.length, hit: false, level: depth,
		 runtime: g.classList.contains("r") });
}
let deepest = F.reduce((m, f) => Math.max(m, f.depth), 0);
let top = +svg.dataset.top, lines = 1, zoom = 0, at = -1, width = 1200, flipped = false, hiding = false, query = null;
const back = [];

// --- numbers ---------------------------------------------------------------
const group = n => Math.round(n).toLocaleString("en-US");
const short = (n, units, base) => {
	let u = 0;
	while (n >= base && u < units.length - 1)
		n /= base, u++;
	return (u && n < 100 ? n.toPrecision(3) : String(Math.round(n))) + " " + units[u];
};
const amount = n => {
	if (UNIT === "us")
		return short(n, ["ns", "µs", "ms", "s"], 1000) + " (" + group(n) + " ns)";
	if (UNIT === "bytes")
		return short(n, ["B", "KB", "MB", "GB", "TB"], 1024) + " (" + group(n) + " bytes)";
	return group(n) + (n === 1 ? " sample" : " samples");
};
const percent = (n, of) => {
	const p = of ? 100 * n / of : 0;
	return (p && p < 0.1 ? p.toPrecision(2) : p.toFixed(1)) + " %";
};

// --- drawing ---------------------------------------------------------------
const columns = s => {
	let n = 0;
	for (const c of s)
		n += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/.test(c) ||
			c.codePointAt(0) > 0xffff ? 2 : 1;
	return n;
};
const fitting = (s, px) => {
	const room = Math.floor(px / CHAR);
	if (columns(s) <= room)
		return s;
	let out = "", n = 0;
	for (const c of s) {
		n += columns(c);
		if (n > room - 1)
			break;
		out += c;
	}
	return out.length > 1 ? out + "…" : "";
};
const place = (f, x, w, old) => {
	const y = top + (flipped ? deepest - f.level : f.level) * ROW;
	f.g.classList.toggle("o", old);
	f.rect.setAttribute("x", x.toFixed(2));
	f.rect.setAttribute("y", y);
	f.rect.setAttribute("width", w.toFixed(2));
	const label = w > 3 * CHAR ? fitting(f.name, w - 6) : "";
	if (label && !f.text) {
		f.text = doc.createElementNS(svg.namespaceURI, "text");
		f.g.appendChild(f.text);
	}
	if (f.text) {
		f.text.textContent = label;
		f.text.setAttribute("x", (x + 3).toFixed(2));
		f.text.setAttribute("y", y + 13);
	}
};
// Hidden frames leave no gap: what they called moves up.
const gone = f => hiding && f.runtime;
const settle = () => {
	deepest = 0;
	for (const f of F) {
		const up = F[f.up];
		f.level = up ? up.level + (gone(up) ? 0 : 1) : 0;
		deepest = Math.max(deepest, f.level);
	}
};
const draw = () => {
	const z = F[zoom], room = width - 2 * PAD, end = z.start + z.weight;
	const above = new Set();
	for (let u = z.up; u >= 0; u = F[u].up)
		above.add(u);
	for (const f of F) {
		let x = PAD, w = room;
		const inside = f.depth >= z.depth && f.start >= z.start && f.start < end;
		if (inside) {
			x += room * (f.start - z.start) / z.weight;
			w = room * f.weight / z.weight;
		}
		const shown = !gone(f) && (f.i === zoom || above.has(f.i) || (inside && w >= 0.25 && f.i > zoom));
		f.g.style.display = shown ? "" : "none";
		if (shown)
			place(f, x, w, above.has(f.i));
	}
	found();
	tell(at);
	for (const b of [$("back"), $("reset")])
		if (b)
			b.disabled = zoom === 0 && !back.length;
};
// --- the head --------------------------------------------------------------
// Text in as many lines as it needs, broken between its parts. Returns how many.
const wrap = (text, parts, room, most) => {
	const x = text.getAttribute("x"), out = [];
	let n = 0, line;
	const begin = () => {
		line = doc.createElementNS(svg.namespaceURI, "tspan");
		line.setAttribute("x", x);
		line.setAttribute("dy", n++ ? 16 : 0);
		out.push(line);
		text.append(line);
	};
	text.textContent = "";
	begin();
	for (const part of parts) {
		const before = line.textContent;
		line.textContent = before + part;
		if (before && n < most && line.getComputedTextLength() > room) {
			line.textContent = before;
			begin();
			line.textContent = part.replace(/^[ ·]+/, "");
		}
	}
	for (const l of out)
		shorten(l, l.textContent, room);
	return n;
};
const shorten = (text, full, room) => {
	text.textContent = full;
	for (let n = full.length; n > 8 && text.getComputedTextLength() > room; n = Math.floor(n * 0.93))
		text.textContent = full.slice(0, n) + "…";
};
const whole = e => e.dataset.full || (e.dataset.full = e.textContent);
// The legend's pairs of a sample and its text, from left to right in as many rows as it takes.
const legend = (y, room) => {
	const all = [...$("legend").children];
	let x = PAD;
	for (let i = 0; i + 1 < all.length; i += 2) {
		const w = 17 + all[i + 1].getComputedTextLength();
		if (x > PAD && x + w > PAD + room)
			x = PAD, y += 18;
		const rect = all[i].firstElementChild;
		rect.setAttribute("x", x);
		rect.setAttribute("y", y - 10);
		all[i + 1].setAttribute("x", x + 17);
		all[i + 1].setAttribute("y", y);
		x += w + 16;
	}
	return y;
};
// From top to bottom: title, what is counted, (in a narrow window) the tools, legend, details.
const head = () => {
	const bar = $("bar"), wide = Math.min(540, width - 2 * PAD), narrow = width < 960;
	const title = svg.querySelector(".t"), sub = svg.querySelector(".s"), room = width - 2 * PAD;
	bar.setAttribute("width", wide);
	bar.setAttribute("x", narrow ? PAD : width - PAD - wide);
	shorten(title, whole(title), narrow ? room : room - wide - PAD);
	let y = 48 + 16 * (wrap(sub, whole(sub).split(/(?= · )/), room, 4) - 1);
	bar.setAttribute("y", narrow ? y + 6 : 10);
	$("tools").style.justifyContent = narrow ? "flex-start" : "flex-end";
	y = legend(y + (narrow ? 58 : 20), room) + 22;
	$("d").setAttribute("y", y);
	lines = width < 600 ? 3 : narrow ? 2 : 1;
	top = y + 14 + 16 * (lines - 1);
	const ground = svg.querySelector(".h"), edge = svg.querySelector(".e");
	ground.setAttribute("height", top - 4);
	edge.setAttribute("y1", top - 4.5);
	edge.setAttribute("y2", top - 4.5);
};
const resize = () => {
	if (alone) {
		const view = doc.defaultView;
		const fit = bar => {
			width = Math.max(360, (view.innerWidth || 1200) - bar);
			head();
			return top + (deepest + 1) * ROW + PAD;
		};
		const height = fit(0) > view.innerHeight ? fit(18) : fit(0); /* a bar on the right makes for one below */
		svg.removeAttribute("viewBox");
		svg.setAttribute("width", width);
		svg.setAttribute("height", height);
	} else {
		head();
		svg.setAttribute("viewBox", "0 0 " + width + " " + (top + (deepest + 1) * ROW + PAD));
	}
	for (const line of svg.querySelectorAll(".full"))
		line.setAttribute(line.localName === "rect" ? "width" : "x2", width);
	draw();
};

// --- details --------------------------------------------------------------
const HELP = "/ search · n N next, previous match · ←↑↓→ move · Enter zoom · Backspace back · r reset · i flip · h hide runtime · Esc clear";
const write = text => { wrap($("d"), text.split(/(?= )/), width - 2 * PAD, lines); };
const tell = i => {
	const f = F[i];
	let text = f ? "" : F.length > 1 ? "Point at a frame for its figures, click to zoom; ? shows the keys." :
		"Nothing was recorded for this view.";
	if (f) {
		const share = percent(f.weight, F[0].weight) + (zoom ? " of all, " +
			percent(f.weight, F[zoom].weight) + " of what is shown" : "");
		text = (f.module ? "  [" + f.module + "]" : "") + "  " + amount(f.weight) + " · " + share;
		if (f.self && f.self !== f.weight)
			text += " · itself " + amount(f.self);
		if (f.g.dataset.b)
			text += " · was " + amount(Number(f.g.dataset.b));
		const room = (width - 2 * PAD) * lines - columns(text) * CHAR;
		f.title.textContent = f.name + text;
		text = fitting(f.name, Math.max(room, 160)) + text;
	}
	write(text);
};
const select = i => {
	if (at >= 0)
		F[at].g.classList.remove("at");
	at = i;
	if (i >= 0)
		F[i].g.classList.add("at");
	tell(i);
};

// --- zoom -----------------------------------------------------------------
const zoomTo = (i, remember) => {
	if (i < 0 || i === zoom || !F[i].weight)
		return;
	if (remember)
		back.push(zoom);
	zoom = i;
	draw();
};
const goBack = () => { if (back.length) zoomTo(back.pop(), false); else zoomTo(0, false); draw(); };
const reset = () => { back.length = 0; zoomTo(0, false); draw(); };

// --- search ---------------------------------------------------------------
// A frame that matches counts once, however many below it match as well.
const found = () => {
	const out = $("found");
	if (!out)
		return;
	out.textContent = "";
	if (!query)
		return;
	const z = F[zoom], end = z.start + z.weight;
	let sum = 0, until = -1, n = 0;
	for (const f of F) {
		n += f.hit;
		if (!f.hit || f.start >= end || f.start + f.weight <= z.start || f.start < until)
			continue;
		const from = Math.max(f.start, z.start), to = Math.min(f.start + f.weight, end);
		sum += to - from;
		until = f.start + f.weight;
	}
	out.textContent = n ? percent(sum, z.weight) : "no match";
	out.title = n + " frames match; share of what is shown";
};
const search = text => {
	const input = $("search");
	query = null;
	input.classList.remove("bad");
	if (text) {
		try {
			query = new RegExp(text, "i");
		} catch (e) {
			input.classList.add("bad");
			query = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
		}
	}
	for (const f of F) {
		f.hit = !!query && f.i > 0 && (query.test(f.name) || (!!f.module && query.test("[" + f.module + "]")));
		f.g.classList.toggle("hit", f.hit);
	}
	found();
};
const step = by => {
	for (let k = 1; k <= F.length; k++) {
		const i = (Math.max(at, 0) + by * k + F.length * 2) % F.length;
		if (F[i].hit && F[i].g.style.display !== "none")
			return show(i);
	}
};

// --- keys -----------------------------------------------------------------
const show = i => {
	if (i === undefined || i < 0)
		return;
	select(i);
	const y = +F[i].rect.getAttribute("y"), win = doc.defaultView;
	if (alone && (y < win.scrollY + top || y > win.scrollY + win.innerHeight - 2 * ROW))
		win.scrollTo(0, Math.max(0, y - win.innerHeight / 2));
};
const beside = by => {
	if (at < 0)
		return zoom;
	for (let i = at + by; i >= 0 && i < F.length; i += by)
		if (F[i].depth === F[at].depth && F[i].g.style.display !== "none")
			return i;
	return at;
};
const below = () => {
	if (at < 0)
		return zoom;
	let best = at;
	for (let i = at + 1; i < F.length && F[i].depth > F[at].depth; i++)
		if (F[i].up === at && (best === at || F[i].weight > F[best].weight))
			best = i;
	return best;
};
const keys = {
	"/": () => { $("search").focus(); $("search").select(); },
	n: () => step(1),
	N: () => step(-1),
	ArrowLeft: () => show(beside(-1)),
	ArrowRight: () => show(beside(1)),
	ArrowUp: () => show(flipped ? below() : at < 0 ? zoom : F[at].up),
	ArrowDown: () => show(flipped && at >= 0 ? F[at].up : below()),
	Enter: () => zoomTo(at, true),
	Backspace: goBack,
	r: reset,
	i: () => { flipped = !flipped; draw(); },
	h: () => {
		hiding = !hiding && F.some(f => f.runtime);
		if (hiding && F[zoom].runtime)
			zoom = 0;
		settle();
		resize();
		$("hide").setAttribute("aria-pressed", hiding);
	},
	"?": () => write(HELP),
	Escape: () => {
		if (query) {
			$("search").value = "";
			search("");
		} else {
			reset();
		}
	},
};
doc.addEventListener("keydown", e => {
	const typing = e.target === $("search");
	if ((e.ctrlKey || e.metaKey) && e.key === "f" && !typing) {
		keys["/"]();
		e.preventDefault();
	}
	if (e.ctrlKey || e.metaKey || e.altKey)
		return;
	if (typing && e.key !== "Escape" && e.key !== "Enter")
		return;
	if (typing) {
		e.target.blur();
		if (e.key === "Enter")
			step(1);
		else
			keys.Escape();
		e.preventDefault();
	} else if (keys[e.key] && !(e.target.localName === "button" && e.key === "Enter")) {
		keys[e.key]();
		e.preventDefault();
	}
});

// --- mouse ----------------------------------------------------------------
const number = new Map(F.map(f => [f.g, f.i]));
const under = e => {
	const g = e.target.closest && e.target.closest("#f > g");
	return g ? number.get(g) : -1;
};
$("f").addEventListener("click", e => zoomTo(under(e), true));
$("f").addEventListener("mousemove", e => { const i = under(e); if (i >= 0 && i !== at) select(i); });
$("f").addEventListener("mouseleave", () => select(-1));

// --- the tool bar ---------------------------------------------------------
const XHTML = "http://www.w3.org/1999/xhtml";
const make = (tag, attrs, text) => {
	const e = doc.createElementNS(XHTML, tag);
	for (const k in attrs)
		e.setAttribute(k, attrs[k]);
	if (text)
		e.textContent = text;
	return e;
};
const toolbar = () => {
	const bar = doc.createElementNS(svg.namespaceURI, "foreignObject");
	bar.id = "bar";
	bar.setAttribute("height", 32);
	const style = make("style", {}, "#tools{display:flex;gap:6px;justify-content:flex-end;align-items:center;" +
		"font:12px system-ui,sans-serif;color:#5b6470;margin:2px}#tools *{font:inherit}" +
		"@media (prefers-color-scheme:dark){#tools{color:#b4bcc5}#tools #found{color:#ff6fae}}" +
		"#tools input{flex:1;min-width:60px;max-width:190px;padding:4px 8px;border:1px solid #b9c0c8;border-radius:5px;" +
		"background:transparent;color:inherit}#tools input.bad{border-color:#d93025}" +
		"#tools input:focus{outline:2px solid #d81b72;border-color:transparent}" +
		"#tools button{padding:4px 9px;border:1px solid #b9c0c8;border-radius:5px;background:transparent;color:inherit;" +
		"cursor:pointer}#tools button[aria-pressed=true]{background:#5b6470;color:#fff}#tools button:disabled{opacity:.4;cursor:default}#found{color:#d81b72;font-weight:600;white-space:nowrap}#found:empty{display:none}");
	const div = make("div", { id: "tools" });
	const input = make("input", { id: "search", type: "text", placeholder: "search: regex",
				      spellcheck: "false", "aria-label": "search frames by regular expression" });
	input.addEventListener("input", () => search(input.value));
	div.append(style, make("span", { id: "found", "aria-live": "polite" }), input);
	for (const [id, text, action, hint] of [
		["back", "Back", goBack, "the zoom before (Backspace)"],
		["reset", "Reset", reset, "everything (r)"],
		["flip", "Flip", keys.i, "root at the bottom or at the top (i)"],
		["hide", "Runtime", keys.h, "hide or show frames of the interpreter and runtime (h)"],
		["help", "?", keys["?"], "keys"]]) {
		const b = make("button", { id, type: "button", title: hint }, text);
		if (id === "hide")
			b.style.display = F.some(f => f.runtime) ? "" : "none";
		b.addEventListener("click", () => { action(); b.blur(); });
		div.append(b);
	}
	bar.append(div);
	$("head").append(bar);
};

toolbar();
resize();
doc.defaultView.addEventListener("resize", resize);
// The head stays in sight while the graph scrolls.
doc.defaultView.addEventListener("scroll", () => {
	if (alone)
		$("head").setAttribute("transform", "translate(0 " + doc.defaultView.scrollY + ")");
});
})();
