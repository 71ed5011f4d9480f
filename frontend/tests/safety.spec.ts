import { buildSync } from 'esbuild';
import { test as plain } from '@playwright/test';
import { answered, arrive, ask, composer, expect, questions, settings, test } from './support';

const HOSTILE = [
  '<script>window.injected = 1</script>',
  '<img src=x onerror="window.injected = 1">',
  '<svg onload="window.injected = 1"><a xlink:href="javascript:window.injected=1">x</a></svg>',
  '[link](javascript:window.injected=1)',
  '![picture](https://example.com/x.png" onerror="window.injected=1)',
  '<iframe srcdoc="<script>parent.injected = 1</script>"></iframe>',
  '<style>* { display: none }</style>',
  '```html"><img src=x onerror=window.injected=1>\n</code></pre><script>window.injected=1</script>\n```',
  '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.injected=1&gt;">',
];

const MARKUP = 'script, img, svg a, iframe, style, object, embed, form, [onerror], [onload], a[href^="javascript"]';

test('what a user writes is shown as it was written', async ({ page }) => {
  await settings(page, { maxTokens: 8 });
  await arrive(page);
  const text = HOSTILE.join('\n');
  await ask(page, text);
  await answered(page);
  await page.reload();
  await expect(questions(page).first().locator('.bubble')).toHaveText(text, { useInnerText: false });
  await expect(page.locator('.turns').locator(MARKUP)).toHaveCount(0);
  expect(await page.evaluate(() => 'injected' in window)).toBe(false);
});

test('what a model writes cannot become markup', async ({ page }) => {
  await settings(page, { maxTokens: 8 });
  await arrive(page);
  await ask(page, 'Hello.');
  await answered(page);
  // The model will not write these by itself: the code that shows every answer gets them here, in the
  // real page under its own policy, as a script that comes from the page's own address.
  const built = buildSync({
    stdin: {
      contents: "import { render } from './src/text/markdown'; window.renderAnswer = render;",
      resolveDir: '.',
    },
    bundle: true,
    write: false,
  });
  const body = built.outputFiles[0]?.text ?? '';
  await page.route('**/assets/render.js', (route) => route.fulfill({ body, contentType: 'text/javascript' }));
  await page.addScriptTag({ url: '/assets/render.js' });
  const found = await page.evaluate(async (hostile) => {
    const render = (window as unknown as { renderAnswer(text: string): string }).renderAnswer;
    const seen: string[] = [];
    for (const text of [...hostile, hostile.join('\n\n')]) {
      const box = document.createElement('div');
      document.querySelector('.turns')?.append(box);
      box.innerHTML = render(text);
      await new Promise((resolve) => setTimeout(resolve, 20));
      for (const element of box.querySelectorAll('*')) {
        if (!/^(P|BR|HR|STRONG|EM|DEL|CODE|PRE|BLOCKQUOTE|UL|OL|LI|A|H[1-6]|TABLE|THEAD|TBODY|TR|TH|TD)$/.test(element.tagName)) {
          seen.push(element.outerHTML);
        }
        for (const { name, value } of element.attributes) {
          if (name.startsWith('on') || /javascript:/i.test(value)) seen.push(element.outerHTML);
        }
      }
      box.remove();
    }
    return seen;
  }, HOSTILE);
  expect(found).toEqual([]);
  expect(await page.evaluate(() => 'injected' in window)).toBe(false);
});

plain('the policy forbids inline script and style, and foreign addresses', async ({ page }) => {
  const response = await page.goto('/');
  const policy = response?.headers()['content-security-policy'] ?? '';
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain('unsafe');
  await expect(composer(page)).toBeVisible();
  const ran = await page.evaluate(async () => {
    const script = document.createElement('script');
    script.textContent = 'window.injected = 1';
    document.head.append(script);
    const fetched = await fetch('https://example.com/').then(() => true, () => false);
    return 'injected' in window || fetched;
  }).catch(() => false);
  expect(ran).toBe(false);
});
