import AxeBuilder from '@axe-core/playwright';
import type { Page, Response } from '@playwright/test';
import { gzipSync } from 'node:zlib';
import { answered, arrive, ask, expect, settings, test } from './support';

async function check(page: Page, state: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { violations } = await new AxeBuilder({ page }).analyze();
    const serious = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
    const said = serious.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} ${n.failureSummary}`).join(' | ')}`);
    expect(said, `${state}, ${colorScheme}`).toEqual([]);
  }
}

test('axe finds no serious problem in any state', async ({ page }) => {
  await settings(page, { maxTokens: 64 });
  await arrive(page);
  await check(page, 'empty');
  await ask(page, 'Write a Python function that adds two numbers.');
  await check(page, 'writing');
  await answered(page);
  await check(page, 'answer');
  await page.getByRole('button', { name: /How this answer was made/ }).click();
  await check(page, 'details');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Settings' }).click();
  await check(page, 'settings');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'You', exact: true }).click();
  await check(page, 'you');
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Canister' }).click();
  await expect(page.getByRole('heading', { name: 'Models', exact: true })).toBeVisible();
  await check(page, 'canister');
});

test('on a phone the chats are behind a button and nothing is cut off', async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await ask(page, `A long word: ${'a'.repeat(120)}`);
  await answered(page);
  const wider = () => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  expect(await wider()).toBe(false);
  const chats = page.getByRole('navigation', { name: 'Your chats' });
  await expect(chats).toBeHidden();
  await page.getByRole('button', { name: 'Chats' }).click();
  await expect(chats).toBeVisible();
  await check(page, 'phone, chats');
  await page.keyboard.press('Escape');
  await expect(chats).toBeHidden();
  await expect(page.getByRole('button', { name: 'Chats' })).toBeFocused();
});

test('the first load stays below 300 KB compressed, and is cached for good', async ({ page }) => {
  const loaded: Response[] = [];
  page.on('response', (response) => {
    if (!new URL(response.url()).pathname.startsWith('/api/')) loaded.push(response);
  });
  await arrive(page);
  let bytes = 0;
  for (const response of loaded) {
    const { pathname } = new URL(response.url());
    const headers = await response.allHeaders();
    bytes += gzipSync(await response.body(), { level: 9 }).length;
    expect(headers['content-encoding'], pathname).toBe('gzip');
    if (pathname.startsWith('/assets/')) expect(headers['cache-control'], pathname).toContain('immutable');
  }
  console.log(`first load: ${bytes} bytes compressed, ${loaded.length} files`);
  expect(loaded.length).toBeGreaterThan(2);
  expect(bytes).toBeLessThan(300_000);
});
