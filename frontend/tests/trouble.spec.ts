import { readFileSync } from 'node:fs';
import { administrator, change } from './administrator';
import { CONTROLLER, answered, answers, arrive, ask, composer, expect, given, settings, shoot, test, visitor } from './support';

const control = (command: string) =>
  fetch(`${given('CONTROL_URL')}/${command}`).then((answer) => expect(answer.ok).toBe(true));

test('a full queue: the question stays, and is asked when there is room', async ({ page, browser }) => {
  const admin = await administrator(browser);
  const usual = await change(admin, 'Answers at once', '1');
  const other = await visitor(browser, { maxTokens: 1024 });
  try {
    await arrive(other);
    await ask(other, 'Write a long story about a lighthouse keeper and the sea.');
    await expect(answers(other).last().locator('.markdown')).toBeVisible();
    await settings(page, { maxTokens: 16 });
    await arrive(page);
    await ask(page, 'Is there room?');
    await expect(page.getByRole('alert')).toContainText('Busy');
    await expect(composer(page)).toHaveValue('Is there room?');
    await shoot(page, 'queue-full');
    await other.getByRole('button', { name: 'Stop the answer' }).click();
  } finally {
    await other.context().close();
    await change(admin, 'Answers at once', usual);
  }
  await shoot(admin, 'administration');
  await admin.context().close();
  await composer(page).press('Enter');
  await answered(page);
});

test('a quota: the page says what is used up', async ({ page, browser }) => {
  const admin = await administrator(browser);
  const usual = await change(admin, 'Chats of a caller', '1');
  try {
    await settings(page, { maxTokens: 8 });
    await arrive(page);
    await ask(page, 'One.');
    await answered(page);
    await page.getByRole('button', { name: 'New chat' }).click();
    await ask(page, 'Two.');
    await expect(page.getByRole('alert')).toContainText('Your share is used up');
  } finally {
    await change(admin, 'Chats of a caller', usual);
  }
  await admin.context().close();
});

test('too few cycles: the page says so, and goes on when there are enough', async ({ page, browser }) => {
  const admin = await administrator(browser);
  const usual = await change(admin, 'Work stops below', '1000000');
  try {
    await settings(page, { maxTokens: 8 });
    await arrive(page);
    await ask(page, 'Are you rich?');
    await expect(page.getByRole('alert')).toContainText('too few cycles');
    await expect(composer(page)).toHaveValue('Are you rich?');
    await shoot(page, 'out-of-cycles');
  } finally {
    await change(admin, 'Work stops below', usual);
  }
  await admin.context().close();
  await composer(page).press('Enter');
  await answered(page);
});

test('the replica goes and comes back: the answer goes on', async ({ page }) => {
  await settings(page, { maxTokens: 120 });
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

test('a key of the command line makes its owner the administrator', async ({ page }) => {
  await arrive(page);
  await page.getByRole('button', { name: 'You', exact: true }).click();
  await page.getByText('Take this key to another browser').click();
  const field = page.getByLabel(/Use another key/);
  await field.fill('nonsense');
  await page.getByRole('button', { name: 'Use it' }).click();
  await expect(page.getByRole('alert')).toContainText('This is not a key.');
  const der = Buffer.from(`302e020100300506032b657004220420${'01'.repeat(32)}`, 'hex').toString('base64');
  await field.fill(`-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`);
  await page.getByRole('button', { name: 'Use it' }).click();
  // The browser's own key is not replaced without a question.
  await expect(page.getByRole('alertdialog')).toContainText('Save your key first');
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save my key', exact: true }).click();
  const key = readFileSync(await (await saved).path(), 'utf8');
  expect(key).toMatch(/^-----BEGIN PRIVATE KEY-----\n[\w+/=]{64}\n-----END/);
  const own = await page.getByText('Principal', { exact: true }).locator('+ dd').innerText();
  await page.getByRole('button', { name: 'Replace my key' }).click();
  await expect(page.getByRole('link', { name: 'Administration' })).toBeVisible();
  // And back, with the file that was saved.
  await page.getByRole('button', { name: 'You', exact: true }).click();
  await page.getByLabel(/Use another key/).fill(key);
  await page.getByRole('button', { name: 'Use it' }).click();
  await page.getByRole('button', { name: 'Replace my key' }).click();
  await expect(page.getByRole('link', { name: 'Canister' })).toBeVisible();
  await page.getByRole('button', { name: 'You', exact: true }).click();
  await expect(page.getByText('Principal', { exact: true }).locator('+ dd')).toHaveText(own.trim());
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
  await expect(page.getByText('Ready', { exact: true }).first()).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText(given('TINY_SHA256'))).toBeVisible();
  await shoot(page, 'uploaded');

  // A second one comes beside it; the controller switches to it, and back.
  await page.getByLabel(/Drop a GGUF file here/).setInputFiles(given('OTHER_MODEL'));
  await page.getByRole('button', { name: 'Switch to this model' }).click({ timeout: 60_000 });
  await expect(page.getByText(given('OTHER_SHA256'))).toBeVisible({ timeout: 60_000 });
  await shoot(page, 'two-models');
  await page.getByRole('button', { name: 'Back to tiny.gguf' }).click();
  await expect(page.getByText(given('TINY_SHA256'))).toBeVisible({ timeout: 60_000 });
  await page.goto(`${empty}#/`);
  await settings(page, { maxTokens: 8 });
  await page.reload();
  await ask(page, 'Hello');
  await expect(answers(page).last()).toHaveAttribute('aria-busy', 'false');
});
