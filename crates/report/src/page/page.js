// Sorts, filters and shows single questions. Everything else of the page stands without it.
'use strict';
(() => {
  const start = performance.now();
  const byId = (id) => document.getElementById(id);

  // Elements whose text is text: nothing here ever parses markup.
  const fill = (element, attributes, children) => {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return element;
  };
  const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
  const s = (name, attributes, ...children) =>
    fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);

  // What a terminal or a browser would not show is spelt out, as on the rest of the page.
  const hidden = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  const visible = (text) => String(text).replace(hidden, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

  const fixed = (value, digits) => value.toFixed(digits).replace(/^-(?=[0.]*$)/, '').replace('-', '−');
  const signed = (value, digits) => (Number(value.toFixed(digits)) > 0 ? '+' : '') + fixed(value, digits);

  // ---- tables as files

  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  // A cell that a spreadsheet would compute is no longer what was found.
  const inert = (text) => (/^[=@\t\r]|^[+-](?![\d.])/.test(text) ? `'${text}` : text);
  const save = (button) => {
    const details = button.closest('details');
    const lines = [...details.querySelectorAll('tr')].map((row) =>
      [...row.cells].map((cell) => quoted(inert(cell.textContent.replace(/−(?=[\d.])/g, '-')))).join(','));
    const file = new Blob(['\ufeff', lines.join('\r\n'), '\r\n'], { type: 'text/csv' });
    const name = details.querySelector('summary').firstChild.textContent.trim();
    const link = h('a', { href: URL.createObjectURL(file), download: `${name.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 80) || 'table'}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  document.addEventListener('click', (event) => {
    const button = event.target.closest('button.csv');
    if (button) save(button);
  });

  // ---- data

  const inflated = async (id) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer();
  };
  const summed = (steps) => {
    let at = 0;
    return steps.map((step) => (step === null ? null : (at += step)));
  };

  let who, topics, facets, nouns, effects, book, heat;
  const measurable = (at) => who[at].reason === null;

  const readTopics = (found) => {
    ({ facets, nouns, signed: effects } = found);
    const number = (value) => (value === null ? null : value / 1e4);
    const triple = (values) => values && values.map(number);
    topics = found.rows.map(([name, facet, count, levels, differences, support], index) => ({
      index, name: visible(name), facet: facet.map(visible), count,
      levels: levels.map(triple), differences: differences.map(triple), support: support.map(number), questions: [],
    }));
    heat = Math.max(1e-9, ...topics.flatMap((topic) => topic.levels.map((level, at) => (level && measurable(at) ? level[0] : 0))));
  };

  const readBook = (words, bytes) => {
    const columns = {};
    let at = 0;
    for (const [checkpoint, kind, length] of words.columns) {
      columns[`${checkpoint} ${kind}`] = bytes.subarray(at, at + length);
      at += length;
    }
    const topic = summed(words.topic);
    const translation = summed(words.translation);
    const translated = new Map();
    translation.forEach((group, question) => {
      if (group === null) return;
      if (translated.has(group)) translated.get(group).push(question);
      else translated.set(group, [question]);
    });
    const texts = words.texts.map(visible);
    topic.forEach((index, question) => topics[index] && topics[index].questions.push(question));
    const written = new Map();
    for (const [question, checkpoint, text, raters] of words.passages) {
      if (!written.has(question)) written.set(question, []);
      written.get(question).push({ checkpoint, text: visible(text), raters });
    }
    const probability = (checkpoint, kind, question) => {
      const column = columns[`${checkpoint} ${kind}`];
      const byte = column === undefined ? undefined : column[question];
      return byte === undefined || byte === 255 ? null : byte / 254;
    };
    book = {
      texts, lower: texts.map((text) => text.toLowerCase()), topic, original: words.back.map((back, question) => question - back),
      translation, translated, offers: words.offers, offer: words.offer, written, probability,
    };
  };

  // ---- marks

  const mark = (checkpoint, x, y, hollow) => {
    const { shape, colour, reason } = who[checkpoint];
    const state = `${hollow ? ' hollow' : ''}${reason === null ? '' : ' dim'}`;
    return s('use', { href: `#m${shape}`, class: `m s${colour}${state}`, x, y });
  };
  const inline = (checkpoint) =>
    s('svg', { class: 'mark', 'aria-hidden': 'true' }, mark(checkpoint, 7, 7, false));
  const name = (checkpoint) => [inline(checkpoint), h('bdi', { title: who[checkpoint].name }, visible(who[checkpoint].short))];
  const percent = (value) => `${(100 * value).toFixed(2)}%`;
  const halves = () => s('use', { href: `#${byId('explore').dataset.grid}` });
  const axis = () => s('svg', { class: 'axis', height: 16, 'aria-hidden': 'true' },
    [[0, 'start'], [0.5, 'middle'], [1, 'end']].map(([value, anchor]) =>
      s('text', { x: percent(value), y: 12, 'text-anchor': anchor }, String(value))));

  // ---- the table of topics

  const order = { column: null, down: true };
  let query = '';
  let shown = 0;
  let list = [];

  const best = (values) => {
    const known = values.filter((value) => value !== null);
    return known.length ? Math.max(...known) : null;
  };
  const columnsOf = () => {
    const at = [...who.keys()];
    const compared = measurable(0) ? at.filter((a) => a > 0 && measurable(a)) : [];
    const out = [
      { head: nouns[0], key: (topic) => topic.name.toLowerCase(), down: false },
      { head: nouns[1], key: (topic) => topic.count, number: true },
    ];
    for (const a of at) {
      const key = measurable(a) ? (topic) => topic.levels[a] && topic.levels[a][0] : null;
      out.push({ head: name(a), key, number: true, cell: (topic) => level(topic, a), faded: !measurable(a) });
    }
    for (const a of compared) {
      out.push({
        head: [inline(a), 'difference', h('span', { class: 'unseen' }, ` of ${visible(who[a].name)}`)], number: true, cell: (topic) => difference(topic.differences[a]),
        key: (topic) => topic.differences[a] && Math.abs(topic.differences[a][0]), lead: true,
      });
    }
    const sure = at.filter(measurable);
    const spread = (topic) => {
      const first = topic.support[sure[0]];
      if (sure.length < 2 || first === null || first === undefined) return best(sure.map((a) => topic.support[a]));
      return best(sure.slice(1).map((a) => (topic.support[a] === null ? null : Math.abs(topic.support[a] - first))));
    };
    if (topics.some((topic) => best(topic.support) !== null)) {
      out.push({ head: sure.length > 1 ? `change of ${nouns[2]}` : nouns[2], key: spread, strip: true, cell: strip });
    }
    return out;
  };
  const level = (topic, a) => {
    const found = topic.levels[a];
    if (!found) return h('td', { class: 'number fine' }, '–');
    const strength = measurable(a) ? Math.min(1, Math.max(0, found[0] / heat)).toFixed(2) : 0;
    const write = effects ? signed : fixed;
    const ends = found[1] < found[2] ? ` [${write(found[1], 3)}, ${write(found[2], 3)}]` : '';
    const title = `${write(found[0], 3)}${ends}`;
    return h('td', { class: `number hot${measurable(a) ? '' : ' faded'}`, style: `--a:${strength}`, title }, write(found[0], 3));
  };
  const difference = (found) => (found
    ? h('td', { class: 'number' }, h('span', { class: 'words' }, signed(found[0], 3)), ' ',
      found[1] < found[2] ? h('span', { class: 'fine' }, `[${signed(found[1], 3)}, ${signed(found[2], 3)}]`) : null)
    : h('td', { class: 'number fine' }, '–'));
  const strip = (topic) => {
    const known = topic.support.map((value, a) => [value, a]).filter(([value]) => value !== null);
    const label = `${nouns[2]}: ${known.map(([value, a]) => `${who[a].name} ${value.toFixed(2)}`).join(', ')}`;
    return h('td', { class: 'plot strip', style: 'height:26px' },
      s('svg', { role: 'img', 'aria-label': label }, halves(), known.map(([value, a]) => mark(a, percent(value), '50%', false))));
  };

  let columns;
  const heads = () => h('thead', null, h('tr', null, columns.map((column) => {
    const sorted = order.column === column ? (order.down ? 'descending' : 'ascending') : null;
    const button = column.key && h('button', { type: 'button', title: 'sort', onclick: () => sortBy(column) }, column.head);
    return h('th', {
      scope: 'col', 'aria-sort': sorted, class: `${column.number ? 'number' : ''}${column.strip ? 'strip' : ''}${column.faded ? ' faded' : ''}`,
    }, button || column.head, column.strip ? axis() : null);
  })));
  const sortBy = (column) => {
    if (order.column === column) order.down = !order.down;
    else Object.assign(order, { column, down: column.down !== false });
    draw();
    const at = columns.indexOf(column);
    byId('topics').tHead.rows[0].cells[at].querySelector('button').focus();
  };
  const link = (topic, question) => `#t=${topic}${question === undefined ? '' : `&q=${question}`}`;
  const rowOf = ({ topic, hits }) => h('tr', null,
    h('th', { scope: 'row' }, book ? h('a', { href: link(topic.index), dir: 'auto' }, topic.name) : h('bdi', null, topic.name), ' ',
      h('span', { class: 'fine' }, topic.facet.filter(Boolean).join(' · ')),
      hits.length ? h('ul', { class: 'hits' }, hits.slice(0, 3).map((question) =>
        h('li', null, h('a', { href: link(topic.index, question), dir: 'auto' }, book.texts[question]))),
      hits.length > 3 ? h('li', { class: 'fine' }, `and ${hits.length - 3} more`) : null) : null),
    h('td', { class: 'number' }, String(topic.count)),
    columns.slice(2).map((column) => column.cell(topic)));

  const found = () => {
    const wanted = [...document.querySelectorAll('#facets select')].map((select) => select.value);
    const out = [];
    for (const topic of topics) {
      if (wanted.some((value, at) => value !== '' && topic.facet[at] !== value)) continue;
      const named = query !== '' && topic.name.toLowerCase().includes(query);
      const hits = query === '' || !book ? [] : topic.questions.filter((question) => book.lower[question].includes(query));
      if (query === '' || named || hits.length) out.push({ topic, hits });
    }
    const { column, down } = order;
    const keyed = out.map((row) => [column.key(row.topic), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const compared = typeof a === 'string' ? a.localeCompare(b) : a - b;
      return down ? -compared : compared;
    });
    return keyed.map(([, row]) => row);
  };
  const more = (count) => {
    const body = byId('topics').tBodies[0];
    body.append(...list.slice(shown, shown + count).map(rowOf));
    shown = Math.min(list.length, shown + count);
    byId('more').hidden = shown === list.length;
    byId('more').textContent = `Show ${Math.min(100, list.length - shown)} more`;
  };
  const draw = () => {
    const before = performance.now();
    list = found();
    shown = 0;
    byId('topics').replaceChildren(heads(), h('tbody'));
    more(who.length > 6 ? 12 : 25);
    const hits = list.reduce((sum, row) => sum + row.hits.length, 0);
    byId('count').textContent = `${list.length.toLocaleString('en')} of ${topics.length.toLocaleString('en')} ${nouns[0].replace(/y$/, 'ie')}s${hits ? `, ${hits.toLocaleString('en')} questions` : ''}`;
    document.documentElement.dataset.filter = (performance.now() - before).toFixed(1);
  };
  const filters = () => facets.map((facet, at) => {
    const values = [...new Set(topics.map((topic) => topic.facet[at]))].sort((a, b) => a.localeCompare(b));
    return h('label', null, facet, h('select', { onchange: draw },
      h('option', { value: '' }, 'all'), values.filter(Boolean).map((value) => h('option', { value }, value))));
  });

  // ---- the questions of a topic

  const spoken = (question) => who.map(({ name: label }, a) => {
    const values = ['letters', 'reversed'].map((kind) => book.probability(a, kind, question)).filter((value) => value !== null);
    return values.length ? `${label} ${values.map((value) => value.toFixed(2)).join(' and ')}` : null;
  }).filter(Boolean).join('; ');
  const lanes = (question) => {
    const parts = who.map((_, a) => {
      const y = 9 + a * 13;
      const [letters, reversed, texts, passages, mass] =
        ['letters', 'reversed', 'texts', 'passages', 'mass'].map((kind) => book.probability(a, kind, question));
      const { colour, reason } = who[a];
      const fade = reason === null ? '' : ' dim';
      const orders = [letters, reversed].filter((value) => value !== null);
      const out = [];
      if (orders.length === 2) out.push(s('line', { class: `i s${colour}${fade}`, x1: percent(letters), x2: percent(reversed), y1: y, y2: y }));
      if (texts !== null) {
        out.push(s('line', { class: `i s${colour}${fade}`, x1: percent(texts), x2: percent(texts), y1: y - 6, y2: y + 6, 'stroke-width': 2 }));
      }
      if (passages !== null) out.push(s('text', { x: percent(passages), y: y + 4, 'text-anchor': 'middle', class: `m s${colour}${fade}` }, '✎'));
      if (orders.length) {
        const mean = orders.reduce((sum, value) => sum + value, 0) / orders.length;
        out.push(mark(a, percent(mean), y, mass !== null && mass < 0.5));
      }
      return out;
    });
    const label = spoken(question);
    return s('svg', { height: who.length * 13 + 5, role: 'img', 'aria-label': label ? `support: ${label}` : 'no answers' }, halves(), parts);
  };
  const kinds = [['letters', 'as listed'], ['reversed', 'reversed'], ['texts', 'answer texts'], ['passages', 'as written'], ['mass', 'on the letters']];
  const numbers = (question) => {
    const used = kinds.filter(([kind]) => who.some((_, a) => book.probability(a, kind, question) !== null));
    return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'probabilities' }, h('table', { class: 'plain' },
      h('thead', null, h('tr', null, h('td', null, 'probability of support'), used.map(([, label]) => h('th', { scope: 'col', class: 'number' }, label)))),
      h('tbody', null, who.map((member, a) => h('tr', { class: member.reason === null ? '' : 'faded' }, h('th', { scope: 'row' }, name(a)),
        used.map(([kind]) => {
          const value = book.probability(a, kind, question);
          return h('td', { class: 'number' }, value === null ? '–' : value.toFixed(2));
        }))))));
  };
  const inside = (question) => {
    const offers = book.offers[book.offer[question]] || [];
    const parts = [];
    if (offers.length) {
      parts.push(h('p', { class: 'fine' }, 'Offers ', offers.map(([text, side], at) =>
        [at ? ', ' : '', h('bdi', null, visible(text)), side ? ` (${visible(side)})` : '']).flat()));
    }
    parts.push(numbers(question));
    const others = (book.translated.get(book.translation[question]) || []).filter((other) => other !== question);
    if (book.translation[question] !== null && others.length) {
      parts.push(h('h4', null, 'Translations'), others.map((other) => h('div', { class: 'lane' },
        h('span', null, h('a', { href: link(book.topic[other], other), dir: 'auto' }, book.texts[other]), ' ',
          h('span', { class: 'fine' }, (topics[book.topic[other]]?.facet ?? []).filter(Boolean).join(' · '))), lanes(other))));
    }
    const written = book.written.get(question) || [];
    if (written.length) {
      parts.push(h('h4', null, 'Written'), written.map(({ checkpoint, text, raters }) => [h('p', null, name(checkpoint),
        h('span', { class: 'fine' }, ' ', raters.map(([rater, byte]) => `${visible(rater)} reads ${byte === 255 ? 'nothing' : (byte / 254).toFixed(2)}`).join(' · '))),
      h('blockquote', { dir: 'auto' }, text)]).flat());
    }
    return h('div', { class: 'inside' }, parts.flat());
  };
  const entry = (question, wanted) => {
    const details = h('details', { class: `question${book.original[question] === question ? '' : ' again'}`, id: `q${question}` },
      h('summary', null, h('span', { dir: 'auto' }, book.texts[question]), lanes(question)));
    const open = () => details.children.length === 1 && details.append(inside(question));
    details.addEventListener('toggle', open);
    if (wanted) {
      details.open = true;
      open();
    }
    return details;
  };
  // An original comes first and its wordings under it; a wording whose original stands elsewhere begins a group itself.
  const grouped = (topic) => {
    const groups = new Map();
    for (const question of topic.questions) {
      const original = book.original[question];
      if (!groups.has(original)) groups.set(original, []);
      groups.get(original).push(question);
    }
    return [...groups].flatMap(([original, questions]) =>
      questions.sort((a, b) => (b === original) - (a === original) || a - b));
  };

  let opener = null;
  const close = () => {
    history.replaceState(null, '', location.pathname + location.search);
    byId('drill').hidden = true;
    const back = opener && document.querySelector(`#topics a[href="${opener}"]`);
    (back || byId('search')).focus();
  };
  const step_to = (topic, by) => {
    const at = list.findIndex((row) => row.topic === topic);
    const next = list[at + by];
    return h('button', { type: 'button', disabled: next ? null : '', onclick: () => { location.hash = link(next.topic.index); } }, by < 0 ? '← previous' : 'next →');
  };
  const open = (index, question) => {
    const topic = topics[index];
    if (!topic || !book) return;
    const levels = who.map((_, a) => {
      const found = topic.levels[a];
      return h('li', { class: measurable(a) ? '' : 'faded' }, name(a), found ? h('span', { class: 'fine' }, fixed(found[0], 3)) : null);
    });
    byId('drill').replaceChildren(
      h('div', { class: 'head' }, h('h3', { dir: 'auto' }, topic.name),
        h('span', { class: 'fine' }, [...topic.facet.filter(Boolean), `${topic.questions.length} questions`].join(' · ')),
        h('span', { class: 'buttons' }, step_to(topic, -1), step_to(topic, 1), h('button', { type: 'button', onclick: close }, 'close'))),
      h('ul', { class: 'key' }, levels),
      h('p', { class: 'fine' }, 'Mark: the mean of both orders. Line: the two orders. Dash: answer texts. ✎: what was written. Hollow: less than half of the probability is on the letters.'),
      h('div', { class: 'lane', style: 'border:0' }, h('span', { class: 'fine' }, 'question'),
        h('span', null, h('span', { class: 'head fine' }, h('span', null, 'opposes'), h('span', { class: 'buttons' }, 'supports')), axis())),
      ...grouped(topic).map((each) => entry(each, each === question)));
    byId('drill').setAttribute('aria-label', `Questions of ${topic.name}`);
    byId('drill').hidden = false;
    byId('explore').hidden = false;
    const target = question === undefined ? byId('drill') : byId(`q${question}`) || byId('drill');
    target.scrollIntoView({ block: question === undefined ? 'start' : 'center' });
    (target === byId('drill') ? target : target.querySelector('summary')).focus({ preventScroll: true });
  };
  const route = () => {
    const asked = /^#t=(\d+)(?:&q=(\d+))?$/.exec(location.hash);
    if (!asked) {
      byId('drill').hidden = true;
      return;
    }
    opener = location.hash;
    open(Number(asked[1]), asked[2] === undefined ? undefined : Number(asked[2]));
  };

  // ---- beginning

  const begin = async () => {
    if (!byId('words') || !byId('explore')) return;
    const words = JSON.parse(new TextDecoder().decode(await inflated('words')));
    who = words.checkpoints;
    readTopics(words.topics);
    if (words.book) readBook(words.book, new Uint8Array(await inflated('columns')));
    columns = columnsOf();
    const first = columns.find((column) => column.lead) || columns.find((column) => column.number && column.cell && column.key) || columns[0];
    Object.assign(order, { column: first, down: first.down !== false });
    byId('facets').append(...filters());
    byId('search').addEventListener('input', (event) => {
      query = event.target.value.trim().toLowerCase();
      draw();
    });
    byId('more').addEventListener('click', () => more(100));
    byId('drill').addEventListener('keydown', (event) => event.key === 'Escape' && close());
    draw();
    byId('explore').hidden = false;
    addEventListener('hashchange', route);
  };
  begin().then(() => {
    document.documentElement.classList.add('ready');
    document.documentElement.dataset.ready = (performance.now() - start).toFixed(0);
    if (topics) route();
  }, (error) => {
    // Without what the data holds the page is as it is on paper.
    console.error(error);
    document.documentElement.dataset.failed = String(error);
  });
})();
