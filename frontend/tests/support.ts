import { Ed25519KeyIdentity } from '@icp-sdk/core/identity';
import { expect, test as base, type Browser, type Page } from '@playwright/test';
import { mkdirSync } from 'node:fs';

/** A variable that tests/chat_page.rs sets. */
export function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run ./scripts/test chat_page`);
  return value;
}

/** The key of the canisters' controller, as tests/chat_page has it. */
export const CONTROLLER = JSON.stringify(Ed25519KeyIdentity.fromSecretKey(new Uint8Array(32).fill(1)).toJSON());

const SHOTS = '../target/screenshots';

/** Every test fails on what the page reports as an error, a broken policy included. */
export const test = base.extend<{ page: Page }>({
  page: async ({ page }, use) => {
    const errors = watchErrors(page);
    await use(page);
    expect(errors).toEqual([]);
  },
});
export { expect };

/** What goes wrong in a page, from now on. A network that is gone is none: the page says so itself. */
export function watchErrors(page: Page): string[] {
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (line) => {
    if (line.type() === 'error' && !/Failed to load resource|ERR_CONNECTION/.test(line.text())) {
      errors.push(line.text());
    }
  });
  return errors;
}

/** A browser of somebody else, with these settings instead of the page's own. */
export async function visitor(browser: Browser, options: Record<string, unknown> = {}): Promise<Page> {
  const context = await browser.newContext();
  const page = await context.newPage();
  await settings(page, options);
  return page;
}

/** Greedy, so that answers are the same each time, and short. */
export async function settings(page: Page, options: Record<string, unknown> = {}): Promise<void> {
  const chosen = { temperature: 0, repetitionPenalty: 1, maxTokens: 48, ...options };
  await page.addInitScript((stored) => {
    if (!localStorage.getItem('settings')) localStorage.setItem('settings', stored);
  }, JSON.stringify(chosen));
}

export const composer = (page: Page) => page.getByRole('textbox', { name: 'Your question' });
export const answers = (page: Page) => page.getByRole('article', { name: 'Answer' });
export const questions = (page: Page) => page.getByRole('article', { name: 'You' });

/** Opens the page and waits until something can be asked. */
export async function arrive(page: Page, path = '/'): Promise<void> {
  await page.goto(path);
  await expect(composer(page)).toHaveAttribute('placeholder', 'Ask something');
}

export async function ask(page: Page, question: string): Promise<void> {
  await composer(page).fill(question);
  await page.keyboard.press('Enter');
}

/** Waits for the last answer's end and returns its text. */
export async function answered(page: Page): Promise<string> {
  const last = answers(page).last();
  await expect(last).toHaveAttribute('aria-busy', 'false', { timeout: 80_000 });
  return (await last.locator('.markdown').innerText()).trim();
}

const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 800 };

/** A picture of a state at both widths, in both schemes at the wider one. */
export async function shoot(page: Page, name: string): Promise<void> {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}/${name}-desktop.png`, animations: 'disabled' });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: `${SHOTS}/${name}-dark.png`, animations: 'disabled' });
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(PHONE);
  await page.screenshot({ path: `${SHOTS}/${name}-phone.png`, animations: 'disabled' });
  await page.setViewportSize(DESKTOP);
}
