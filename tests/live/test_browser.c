/* SPDX-License-Identifier: MIT */
/*
 * A flame graph in a real browser: it loads as a document of its own, zooms, searches, obeys
 * keys, fits wide and narrow windows, can be read in light and in dark, and runs nothing that a
 * name brought along. Headless Chromium opens the file from disk; a second script, appended for
 * the test, does what a person would and leaves what it saw in the document.
 */
#include "live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "graph.h"

static void need_browser(void)
{
	live_init();
	if (!have_command("chromium"))
		cr_skip_test("no chromium here: flame graphs were not looked at in a browser "
		             "(tools/setup.sh test)");
}

TestSuite(browser, .init = need_browser, .fini = live_fini, .timeout = 400);

static struct proc browse(const char *size, bool dark, const char *action, const char *path)
{
	struct proc_opts o = {.timeout_s = 120};

	return run_with(ARGS("chromium", "--headless", "--no-sandbox", "--disable-gpu",
	                     "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage",
	                     fmt("--user-data-dir=%s/profile", live_dir),
	                     fmt("--blink-settings=preferredColorScheme=%d", dark ? 0 : 1),
	                     fmt("--window-size=%s", size), action, fmt("file://%s", path)),
	                &o);
}

/* What every script begins and ends with. */
#define BEGIN                                                                                      \
	"const R = {}, svg = document.documentElement, $ = id => document.getElementById(id);\n"   \
	"const frames = [...$('f').children], name = g => g.querySelector('title').textContent;\n" \
	"const named = n => frames.filter(g => name(g).startsWith(n));\n"                          \
	"const key = k => document.dispatchEvent(new KeyboardEvent('keydown', {key: k}));\n"
#define END                                \
	"svg.setAttribute('data-result', " \
	"btoa(unescape(encodeURIComponent(JSON.stringify(R)))));"

/* What a person does, in the page. R collects what is then seen. */
static const char script[] = BEGIN
        "const width = g => g.style.display === 'none' ? 0 : "
        "+g.querySelector('rect').getAttribute('width');\n"
        "const visible = () => frames.filter(g => g.style.display !== 'none').length;\n"
        "const click = g => g.querySelector('rect').dispatchEvent(new MouseEvent('click', "
        "{bubbles: true}));\n"
        "const find = s => { $('search').value = s; $('search').dispatchEvent(new "
        "Event('input')); };\n"
        "R.frames = frames.length;\n"
        "R.window = innerWidth; R.svg = +svg.getAttribute('width'); R.all = width(frames[0]);\n"
        "const worker = named('worker-a')[0], other = named('worker-b')[0];\n"
        "R.before = width(worker); R.visible = visible();\n"
        "find('lock_w.it'); R.found = $('found').textContent;\n"
        "R.hits = document.querySelectorAll('#f .hit').length;\n"
        "find('lock_wait('); R.bad = $('search').classList.contains('bad');\n"
        "find('no such frame'); R.none = $('found').textContent;\n"
        "find('');\n"
        "click(worker); R.zoomed = width(worker); R.other = width(other);\n"
        "R.zoomed_visible = visible();\n"
        "click(named('lock_wait')[0]); R.deeper = width(named('lock_wait')[0]);\n"
        "$('back').click(); R.back = width(named('lock_wait')[0]) && width(worker);\n"
        "key('Backspace'); R.back2 = width(worker);\n"
        "click(other); $('reset').click(); R.reset = width(worker);\n"
        "key('ArrowDown'); key('ArrowDown'); R.detail = $('d').textContent;\n"
        "key('Enter'); R.entered = visible(); key('r');\n"
        "const y = frames[0].querySelector('rect').getAttribute('y'); key('i');\n"
        "R.flipped = y !== frames[0].querySelector('rect').getAttribute('y'); key('i');\n"
        "worker.querySelector('rect').dispatchEvent(new MouseEvent('mousemove', {bubbles: "
        "true}));\n"
        "R.hover = $('d').textContent;\n"
        "const low = g => +g.querySelector('rect').getAttribute('y');\n"
        "const leaf = named('lock_wait')[0], step = low(leaf), n = visible();\n"
        "key('h'); R.raised = step - low(leaf); R.hidden = n - visible();\n"
        "key('h'); R.again = low(leaf) === step && visible() === n;\n"
        "R.evil = svg.dataset.evil || null;\n" END;

static json_t *decode(const char *base64)
{
	const char *path = fmt("%s/result.b64", live_dir);
	FILE *f = fopen(path, "w");
	struct proc p;
	json_t *v;

	cr_assert(f);
	fprintf(f, "%.*s", (int)strcspn(base64, "\""), base64);
	fclose(f);
	p = run(ARGS("base64", "-d", path));
	v = json_loads(p.out, 0, NULL);
	cr_assert(v, "%s", p.out);
	return v;
}

/* The script's result. */
static json_t *seen(const char *size, bool dark, const char *with)
{
	const char *path = fmt("%s/graph.svg", live_dir), *result;
	struct proc p;

	graph_write(path, with);
	p = browse(size, dark, "--dump-dom", path);
	result = strstr(p.out, "data-result=\"");
	cr_assert(result, "the script ran to its end; status %d\n%.2000s", p.status, p.err);
	return decode(result + strlen("data-result=\""));
}

Test(browser, zoom_search_keys)
{
	json_t *r = seen("1000,700", false, script);
	double all;

	all = real_at(r, "all");
	cr_expect_eq(u64_at(r, "frames"), 13u, "all, app, main's wait, two workers with four each");
	cr_expect_eq(real_at(r, "svg"), real_at(r, "window"), "it fits the window");
	cr_expect_float_eq(real_at(r, "before") / all, 4.0 / 12, 0.01, "4 of 12 ms: %g of %g",
	                   real_at(r, "before"), all);
	cr_expect_str_eq(str_at(r, "found"), "50.0 %");
	cr_expect_eq(u64_at(r, "hits"), 2u);
	cr_expect(json_is_true(at(r, "bad")), "a wrong expression is shown as such");
	cr_expect_str_eq(str_at(r, "none"), "no match");
	cr_expect_float_eq(real_at(r, "zoomed"), all, 0.1);
	cr_expect_float_eq(real_at(r, "other"), 0, 0.1);
	cr_expect_lt(u64_at(r, "zoomed_visible"), u64_at(r, "visible"));
	cr_expect_float_eq(real_at(r, "deeper"), all, 0.1);
	cr_expect_float_eq(real_at(r, "back"), all, 0.1);
	cr_expect_float_eq(real_at(r, "back2"), real_at(r, "before"), 0.1);
	cr_expect_float_eq(real_at(r, "reset"), real_at(r, "before"), 0.1);
	cr_expect(strstr(str_at(r, "detail"), "app"), "%s", str_at(r, "detail"));
	cr_expect(json_is_true(at(r, "flipped")));
	cr_expect(strstr(str_at(r, "hover"), "worker-a  4.00 ms (4,000,000 ns) · 33.3 %"), "%s",
	          str_at(r, "hover"));
	cr_expect_eq(u64_at(r, "raised"), 18, "one row up without the runtime's frame above");
	cr_expect_eq(u64_at(r, "hidden"), 2u);
	cr_expect(json_is_true(at(r, "again")));
	cr_expect(json_is_null(at(r, "evil")), "a function's name was run as a script");
	json_decref(r);
}

/* The head's parts from top to bottom, the details last with their longest text. R: how far one
 * reaches into the next or out of the window, in pixels; 0 = all can be read. */
static const char measure_head[] = BEGIN
        "const box = e => e.getBoundingClientRect(), deep = named('lock_wait')[0];\n"
        "const parts = () => [svg.querySelector('.t'), svg.querySelector('.s'), $('search'), "
        "$('legend'), $('d'), frames[0]].map(box);\n"
        "const narrow = innerWidth < 900;\n"
        "const over = b => Math.max(0, ...b.map(x => x.right - innerWidth), ...b.map((x, i) => "
        "i && (narrow || i !== 2 && i !== 3) ? b[i - 1].bottom - x.top : 0));\n"
        "R.rest = over(parts());\n"
        "deep.querySelector('rect').dispatchEvent(new MouseEvent('mousemove', {bubbles: true}));\n"
        "R.told = over(parts());\n"
        "key('?'); R.help = over(parts()); R.words = $('d').textContent.includes('clear');\n"
        "R.legend = $('legend').getBoundingClientRect().height;\n"
        "R.window = innerWidth;\n" END;

Test(browser, windows_of_all_sizes)
{
	static const char *const sizes[] = {"480,700", "700,700", "1000,700", "1600,900"};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		json_t *r = seen(sizes[i], false, measure_head);

		cr_expect_leq(real_at(r, "rest"), 2, "%s: %g", sizes[i], real_at(r, "rest"));
		cr_expect_leq(real_at(r, "told"), 2, "%s: %g", sizes[i], real_at(r, "told"));
		cr_expect_leq(real_at(r, "help"), 2, "%s: %g", sizes[i], real_at(r, "help"));
		cr_expect(json_is_true(at(r, "words")), "%s: the help is whole", sizes[i]);
		cr_expect_gt(real_at(r, "legend"), 8, "%s: the legend is there", sizes[i]);
		json_decref(r);
	}
}

/* R.contrast: the least contrast (WCAG's) of a frame's text, of all kinds and shades, zoomed out
 * of and found ones as well; R.apart: the least distance (of 441) of two kinds' colours. */
static const char measure_colours[] = BEGIN
        "const ground = getComputedStyle(svg).backgroundColor, g = frames[1];\n"
        "const rgb = s => s.match(/[\\d.]+/g).slice(0, 3).map(Number);\n"
        "const paint = c => { g.setAttribute('class', c); const s = "
        "getComputedStyle(g.querySelector('rect')), back = rgb(ground); return "
        "rgb(s.fill).map((v, i) => v * s.fillOpacity + back[i] * (1 - s.fillOpacity)); };\n"
        "const light = c => c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) "
        "** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);\n"
        "const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), "
        "light(b)) + 0.05);\n"
        "const kinds = 'w p n i r k m u x'.split(' ');\n"
        "const growths = 'g1 g2 g3 g4 z s1 s2 s3 s4'.split(' ');\n"
        "R.contrast = 21; R.apart = 441; g.style.transition = 'none';\n"
        "for (const c of kinds.concat(growths)) for (const more of growths.includes(c) ? "
        "['', ' o', ' hit'] : ['', ' a', ' b', ' o', ' b o', ' hit']) { const r = ratio(paint(c + "
        "more), "
        "rgb(getComputedStyle(g.querySelector('text')).fill));\n"
        "if (r < R.contrast) R.contrast = r, R.least = c + more; }\n"
        "for (const a of kinds) for (const b of kinds) if (a < b) { const p = paint(a), q = "
        "paint(b), d = Math.hypot(...p.map((v, i) => v - q[i])); if (d < R.apart) R.apart = d, "
        "R.pair = a + b; }\n"
        "R.dark = light(rgb(ground)) < 0.2;\n"
        "R.head = Math.min(...['.t', '.s', '.l', '#d'].map(e => "
        "ratio(rgb(getComputedStyle(svg.querySelector(e)).fill), rgb(ground))), "
        "ratio(rgb(getComputedStyle($('flip')).color), rgb(ground)));\n" END;

Test(browser, light_and_dark)
{
	for (int dark = 0; dark <= 1; dark++) {
		json_t *r = seen("1000,700", dark, measure_colours);

		cr_expect_eq(json_is_true(at(r, "dark")), dark);
		cr_expect_geq(real_at(r, "contrast"), 4.5, "dark %d: %s %g", dark,
		              str_at(r, "least"), real_at(r, "contrast"));
		cr_expect_geq(real_at(r, "head"), 4.5, "dark %d: %g", dark, real_at(r, "head"));
		cr_expect_geq(real_at(r, "apart"), 40, "dark %d: %s %g", dark, str_at(r, "pair"),
		              real_at(r, "apart"));
		json_decref(r);
	}
}

/* A picture comes out, of the size of the window. */
Test(browser, picture)
{
	const char *path = fmt("%s/graph.svg", live_dir), *png = fmt("%s/graph.png", live_dir);
	unsigned char head[24] = {0};
	struct proc p;
	FILE *f;

	graph_write(path, "");
	p = browse("800,400", false, fmt("--screenshot=%s", png), path);
	f = fopen(png, "rb");
	cr_assert(f, "no picture: status %d\n%.2000s", p.status, p.err);
	cr_expect_eq(fread(head, 1, sizeof(head), f), sizeof(head));
	fclose(f);
	cr_expect(!memcmp(head, "\x89PNG", 4));
	cr_expect_eq(head[18] << 8 | head[19], 800);
	cr_expect_eq(head[22] << 8 | head[23], 400);
}
