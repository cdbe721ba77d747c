// What tests/page/run checks in a browser: check.mjs FOLDER CHROMIUM.

import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, chromiumPath] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const budget = { code: 40 * 1024, two: 400_000, six: 600_000, nodes: 6000, ready: 500, filter: 50, paper: 8, text: 11 };
const address = (name) => pathToFileURL(`${folder}/${name}.html`).href;
let passed = 0;
const failures = [];
const check = (what, holds, detail = '') => {
  if (holds) passed += 1;
  else failures.push(`${what}${detail === '' ? '' : `: ${detail}`}`);
};

const browser = await chromium.launch({
  executablePath: chromiumPath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const desktop = { viewport: { width: 1280, height: 900 } };
const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** Opens a page and watches what it says and asks for. */
const opened = async (name, options = {}) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const said = [];
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('dialog', (dialog) => { said.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => request.url() === address(name) || request.url().startsWith('blob:') || said.push(`asks for ${request.url()}`));
  await page.goto(address(name));
  if (options.javaScriptEnabled !== false) await page.waitForFunction(() => document.documentElement.classList.contains('ready'));
  return { page, said, close: () => context.close() };
};
const data = (page, key) => page.evaluate((name) => Number(document.documentElement.dataset[name]), key);

/** Everything that can be seen: too small, cut off, or wider than the screen. */
const seen = (page) => page.evaluate((least) => {
  const wrong = [];
  const visible = (element) => element.checkVisibility() && !element.closest('.unseen, .skip');
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !visible(element) || ['SCRIPT', 'STYLE', 'title'].includes(element.tagName)) continue;
    const scale = element instanceof SVGGraphicsElement ? Math.abs(element.getScreenCTM().a) : 1;
    const size = parseFloat(getComputedStyle(element).fontSize) * scale;
    if (size < least - 0.01) wrong.push(`${size} px: ${node.textContent.trim().slice(0, 40)}`);
  }
  const edge = document.documentElement.clientWidth;
  for (const text of document.querySelectorAll('svg text')) {
    const box = text.getBoundingClientRect();
    const room = text.closest('.scroll');
    if (!visible(text) || box.width === 0) continue;
    const right = room ? room.getBoundingClientRect().left + room.scrollWidth + 1 : edge + 1;
    const own = text.getBBox();
    if (box.left < -1 || box.right > right || own.width === 0) wrong.push(`cut off: ${text.textContent}`);
  }
  for (const axis of document.querySelectorAll('svg.axis')) {
    if (!visible(axis)) continue;
    const boxes = [...axis.querySelectorAll('text')].map((text) => text.getBoundingClientRect()).sort((a, b) => a.left - b.left);
    boxes.slice(1).forEach((box, at) => box.left < boxes[at].right && wrong.push(`numbers of an axis touch: ${axis.textContent}`));
  }
  for (const element of document.querySelectorAll('main *')) {
    if (!(element instanceof HTMLElement) || !visible(element) || element.closest('.scroll') || element.closest('svg')) continue;
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && getComputedStyle(element).display !== 'inline') {
      wrong.push(`${element.tagName} is ${element.scrollWidth} wide in ${element.clientWidth}: ${element.textContent.slice(0, 40)}`);
    }
  }
  if (document.documentElement.scrollWidth > edge) wrong.push(`the page is ${document.documentElement.scrollWidth} wide of ${edge}`);
  return [...new Set(wrong)];
}, budget.text);

const accessible = async (page) => {
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .map(({ id, nodes }) => `${id} (${nodes.length}): ${nodes[0].html.slice(0, 160)} ${nodes[0].failureSummary.split('\n')[1] ?? ''}`);
};

// ---- looks

const looks = [['desktop', desktop], ['dark', { ...desktop, colorScheme: 'dark' }], ['phone', phone], ['dark phone', { ...phone, colorScheme: 'dark' }]];
for (const name of ['two', 'six', 'names', 'one']) {
  for (const [look, options] of looks) {
    const { page, said, close } = await opened(name, options);
    const where = `${name}, ${look}`;
    check(`${where}: nodes`, (await page.evaluate(() => document.querySelectorAll('*').length)) <= budget.nodes);
    for (const wrong of await seen(page)) check(where, false, wrong);
    for (const wrong of await accessible(page)) check(`${where}: axe`, false, wrong);
    await page.evaluate(() => { location.hash = '#t=0'; });
    await page.waitForSelector('#drill:not([hidden])');
    await page.locator('#drill details').first().evaluate((details) => { details.open = true; });
    await page.waitForSelector('#drill .inside');
    for (const wrong of await seen(page)) check(`${where}, questions`, false, wrong);
    for (const wrong of await accessible(page)) check(`${where}, questions: axe`, false, wrong);
    check(`${where}: says nothing and asks for nothing`, said.length === 0, said.join('; '));
    await close();
  }
}

// ---- budgets

for (const name of ['two', 'six']) {
  const size = statSync(`${folder}/${name}.html`).size;
  check(`${name}: ${size} bytes`, size <= budget[name]);
  const ready = [];
  const filter = [];
  let nodes = 0;
  for (let again = 0; again < 5; again += 1) {
    const { page, close } = await opened(name, desktop);
    ready.push(await data(page, 'ready'));
    nodes = await page.evaluate(() => document.querySelectorAll('*').length);
    for (const words of ['s', 'should', 'nothing that is there', '']) {
      await page.fill('#search', words);
      filter.push(await data(page, 'filter'));
    }
    await close();
  }
  const best = (values) => Math.min(...values);
  const filters = [0, 1, 2, 3].map((at) => best(filter.filter((_, number) => number % 4 === at)));
  check(`${name}: ready in ${best(ready)} ms`, best(ready) <= budget.ready);
  check(`${name}: filtered in ${Math.max(...filters)} ms`, Math.max(...filters) <= budget.filter);
  console.log(`${name}: ${size} bytes, ${nodes} nodes, ready in ${best(ready)} ms, filtered in ${Math.max(...filters)} ms`);
}

// ---- the keyboard alone

{
  const { page, said, close } = await opened('two', desktop);
  const focused = () => page.evaluate(() => {
    const element = document.activeElement;
    return { id: element.id, name: element.tagName, href: element.getAttribute('href'), inside: Boolean(element.closest('#drill')), text: element.textContent.trim() };
  });
  const until = async (what, most, holds) => {
    for (let at = 0; at < most; at += 1) {
      await page.keyboard.press('Tab');
      const now = await focused();
      if (holds(now)) return now;
    }
    check(`keyboard: ${what} within ${most} steps`, false, JSON.stringify(await focused()));
    return null;
  };
  await page.keyboard.press('Tab');
  check('keyboard: first comes the skip link', (await focused()).href === '#main');
  await page.keyboard.press('Enter');
  check('keyboard: it leads to the verdict', (await focused()).id === 'main');
  await until('the search', 40, ({ id }) => id === 'search');
  await page.keyboard.type('should');
  const topic = await until('a topic', 20, ({ href }) => /^#t=\d+$/.test(href ?? ''));
  await page.keyboard.press('Enter');
  await page.waitForSelector('#drill:not([hidden])');
  check('keyboard: a topic opens', (await focused()).id === 'drill', JSON.stringify(await focused()));
  check('a topic is a link', new URL(page.url()).hash === topic?.href);
  await until('a question', 8, ({ name, inside }) => name === 'SUMMARY' && inside);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#drill details[open] .inside table');
  check('keyboard: a question opens', true);
  await page.keyboard.press('Escape');
  check('keyboard: Escape leads back', (await focused()).href === topic?.href && (await page.isHidden('#drill')));
  await until('a question that was found', 20, ({ href }) => /^#t=\d+&q=\d+$/.test(href ?? ''));
  await page.keyboard.press('Enter');
  await page.waitForSelector('#drill details[open] .inside');
  check('keyboard: a question is opened from the search', (await focused()).name === 'SUMMARY');
  check('keyboard: nothing is said', said.length === 0, said.join('; '));
  await close();
}

// ---- sorting, filters, links, files

{
  const { page, close } = await opened('two', desktop);
  const columns = page.locator('#topics thead button');
  for (let at = 0; at < (await columns.count()); at += 1) {
    await columns.nth(at).click();
    const before = await page.locator('#topics tbody tr').first().textContent();
    check('a header sorts', (await page.locator('#topics th[aria-sort]').count()) === 1);
    await columns.nth(at).click();
    check('and the other way round', (await page.locator('#topics tbody tr').first().textContent()) !== before, await columns.nth(at).textContent());
  }
  const select = page.locator('#facets select').first();
  const value = await select.locator('option').nth(1).getAttribute('value');
  await select.selectOption(value);
  const facets = await page.locator('#topics tbody th > .fine').allTextContents();
  check('a filter keeps what is asked for', facets.length > 0 && facets.every((text) => text.split(' · ').includes(value)));
  const details = page.locator('details.numbers').first();
  await details.evaluate((element) => { element.open = true; });
  const [download] = await Promise.all([page.waitForEvent('download'), details.locator('button.csv').click()]);
  const lines = readFileSync(await download.path(), 'utf8').trim().split('\r\n');
  check('a table is saved', lines.length === (await details.locator('tr').count()) && download.suggestedFilename().endsWith('.csv'));
  await close();
  const linked = await opened('two', desktop);
  await linked.page.goto(`${address('two')}#t=3`);
  await linked.page.reload();
  await linked.page.waitForSelector('#drill:not([hidden]) details');
  check('a link to a topic opens it', true);
  await linked.close();
}

// ---- what is shown is what was found

{
  const { page, close } = await opened('two', desktop);
  await page.evaluate(() => { location.hash = '#t=0'; });
  await page.waitForSelector('#drill:not([hidden])');
  for (const { question, text, values } of JSON.parse(readFileSync(`${folder}/two.json`, 'utf8'))) {
    const details = page.locator(`#q${question}`);
    await details.evaluate((element) => { element.open = true; });
    await details.locator('.inside').waitFor();
    const shown = (await details.locator('.inside table td.number').allTextContents()).map(Number);
    const same = shown.length === values.length && shown.every((value, at) => Math.abs(value - values[at]) <= 0.0071);
    check(`the answers to question ${question}`, same, `${shown} for ${values}`);
    check(`the text of question ${question}`, (await details.locator('summary > span').textContent()) === text);
  }
  await close();
}

// ---- what could not be measured, and names

{
  const { page, close } = await opened('names', desktop);
  const text = await page.evaluate(() => document.body.innerText);
  for (const name of ['a-checkpoint-with-a-long-name-a-checkpoint', '合議制の模型-七十億-指示調整済み版', 'نموذج-اللغة-العربية', "<script>alert('x')</script>&amp;", '\\u{202e}turned\\u{1b}[31m']) {
    check(`${name} is shown`, text.includes(name));
  }
  check('what could not be measured is not sorted by', (await page.locator('#topics thead th.faded button').count()) === 0 && (await page.locator('#topics thead th.faded').count()) === 2);
  await close();
}

// ---- without scripts, and on paper

{
  const { page, close } = await opened('two', { ...desktop, javaScriptEnabled: false });
  const text = await page.innerText('body');
  for (const part of ['less consistent', 'How far answers move', 'Can these numbers be trusted?', 'Largest differences', 'Provenance']) {
    check(`without scripts: ${part}`, text.includes(part));
  }
  check('without scripts there is nothing that needs them', await page.isHidden('#explore'));
  await close();
}
for (const [name, scheme] of [['two', 'light'], ['two', 'dark'], ['six', 'light'], ['names', 'light']]) {
  const { page, close } = await opened(name, { viewport: { width: 700, height: 1000 }, colorScheme: scheme });
  const pdf = (await page.pdf({ format: 'A4', printBackground: true })).toString('latin1');
  const pages = (pdf.match(/\/Type\s*\/Page\b(?!s)/g) ?? []).length;
  console.log(`${name}: ${pages} pages on paper`);
  check(`${name}: ${pages} pages`, name !== 'two' || (pages > 0 && pages <= budget.paper));
  await page.emulateMedia({ media: 'print' });
  const tall = await page.evaluate(() => [...document.querySelectorAll('figure')].filter((figure) =>
    figure.checkVisibility() && getComputedStyle(figure).breakInside === 'avoid' && figure.getBoundingClientRect().height > 980).length);
  check(`${name}: figures fit on a page with their captions`, tall === 0, `${tall} do not`);
  const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check(`${name}: paper is white`, paper === 'rgb(255, 255, 255)', paper);
  await close();
}

await browser.close();
for (const failure of failures) console.log(`failed: ${failure}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
