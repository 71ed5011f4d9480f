import type { Browser, Page } from '@playwright/test';
import { CONTROLLER, expect, visitor } from './support';

/** Changes a setting of the canister on its administration page; returns what it was. */
export async function change(admin: Page, setting: string, value: string): Promise<string> {
  const field = admin.getByLabel(setting, { exact: true });
  const before = await field.inputValue();
  await field.fill(value);
  await admin.getByRole('button', { name: 'Save' }).click();
  await expect(admin.getByText('Saved.')).toBeVisible();
  // As the canister says it, which the page asks for after a reload.
  await admin.reload();
  const now = await admin.getByLabel(setting, { exact: true }).inputValue();
  expect(now.replaceAll(',', '')).toBe(value.replaceAll(',', ''));
  return before;
}

export async function administrator(browser: Browser): Promise<Page> {
  const admin = await visitor(browser);
  await admin.addInitScript((key) => localStorage.setItem('identity', key), CONTROLLER);
  await admin.goto('/#/admin');
  await expect(admin.getByRole('button', { name: 'Save' })).toBeVisible();
  return admin;
}
