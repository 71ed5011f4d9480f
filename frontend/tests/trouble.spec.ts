import { Ed25519KeyIdentity } from '@icp-sdk/core/identity';
import { answered, answers, arrive, ask, composer, expect, given, settings, shoot, test, visitor } from './support';

/** The canisters' controller, as tests/chat_page.rs has it. */
const CONTROLLER = JSON.stringify(Ed25519KeyIdentity.fromSecretKey(new Uint8Array(32).fill(1)).toJSON());

const control = (command: string) =>
  fetch(`${given('CONTROL_URL')}/${command}`).then((answer) => expect(answer.ok).toBe(true));

test('a full queue: the question stays, and is asked when there is room', async ({ page, browser }) => {
  const admin = await visitor(browser);
  await admin.addInitScript((key) => localStorage.setItem('identity', key), CONTROLLER);
  await admin.goto('/#/admin');
  const setting = admin.getByLabel('Answers at once', { exact: true });
  await setting.fill('0');
  await admin.getByRole('button', { name: 'Save' }).click();
  await expect(admin.getByText('Saved.').or(admin.getByLabel('Answers at once', { exact: true }))).toBeVisible();
  await expect(setting).toHaveValue('0');

  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await ask(page, 'Is there room?');
  await expect(page.getByRole('alert')).toContainText('Busy');
  await expect(composer(page)).toHaveValue('Is there room?');
  await shoot(page, 'queue-full');

  await setting.fill('64');
  await admin.getByRole('button', { name: 'Save' }).click();
  await expect(setting).toHaveValue('64');
  await shoot(admin, 'administration');
  await admin.context().close();
  await composer(page).press('Enter');
  await answered(page);
});

test('a quota: the page says what is used up', async ({ page, browser }) => {
  const admin = await visitor(browser);
  await admin.addInitScript((key) => localStorage.setItem('identity', key), CONTROLLER);
  await admin.goto('/#/admin');
  const setting = admin.getByLabel('Chats of a caller (0: any)');
  const usual = await setting.inputValue();
  await setting.fill('1');
  await admin.getByRole('button', { name: 'Save' }).click();
  await expect(setting).toHaveValue('1');
  await settings(page, { maxTokens: 8 });
  await arrive(page);
  await ask(page, 'One.');
  await answered(page);
  await page.getByRole('button', { name: 'New chat' }).click();
  await ask(page, 'Two.');
  await expect(page.getByRole('alert')).toContainText('Your share is used up');
  await setting.fill(usual);
  await admin.getByRole('button', { name: 'Save' }).click();
  await expect(setting).toHaveValue(usual);
  await admin.context().close();
});

test('the replica goes and comes back: the answer goes on', async ({ page }) => {
  await settings(page, { maxTokens: 200 });
  await arrive(page);
  await ask(page, 'Tell me a story about a fox.');
  await expect(answers(page).last().locator('.markdown')).toBeVisible();
  await control('stop');
  await expect(page.getByRole('alert')).toContainText('cannot be reached');
  await shoot(page, 'lost');
  await control('start');
  await expect(page.getByRole('alert')).toHaveCount(0, { timeout: 60_000 });
  expect((await answered(page)).length).toBeGreaterThan(100);
});

test('a canister without a model says so; its controller uploads one in the browser', async ({ page }) => {
  const empty = given('EMPTY_URL');
  await page.goto(empty);
  await expect(page.getByText('There is no model in the canister yet.')).toBeVisible();
  await expect(composer(page)).toHaveAttribute('placeholder', 'The model is not ready yet');
  await shoot(page, 'no-model');
  await page.goto(`${empty}#/admin`);
  await expect(page.getByText('You may look.')).toBeVisible();
  await expect(page.getByText('Drop a GGUF file here')).toHaveCount(0);

  await page.evaluate((key) => localStorage.setItem('identity', key), CONTROLLER);
  await page.reload();
  await page.getByLabel(/Drop a GGUF file here/).setInputFiles(given('TINY_MODEL'));
  await expect(page.getByText('Ready', { exact: true })).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText(given('TINY_SHA256'))).toBeVisible();
  await shoot(page, 'uploaded');
  await page.goto(`${empty}#/`);
  await settings(page, { maxTokens: 8 });
  await page.reload();
  await ask(page, 'Hello');
  await expect(answers(page).last()).toHaveAttribute('aria-busy', 'false');
});
