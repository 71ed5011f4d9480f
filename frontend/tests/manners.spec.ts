import { administrator } from './administrator';
import { answered, answers, arrive, ask, composer, expect, questions, settings, test } from './support';

test('a question typed while an answer is written waits for its end', async ({ page }) => {
  await settings(page, { maxTokens: 60 });
  await arrive(page);
  await ask(page, 'Tell me about the sea.');
  await expect(answers(page).last().locator('.markdown')).toBeVisible();
  await ask(page, 'And about the sky?');
  await expect(page.getByText('Sent when the answer has ended')).toContainText('And about the sky?');
  await expect(composer(page)).toHaveValue('');
  // It can be taken back, and sent again.
  await page.getByRole('button', { name: 'Take it back' }).click();
  await expect(composer(page)).toHaveValue('And about the sky?');
  await expect(composer(page)).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(questions(page)).toHaveCount(2, { timeout: 80_000 });
  await expect(page.getByText('Sent when the answer has ended')).toHaveCount(0);
  await answered(page);
  await expect(answers(page)).toHaveCount(2);
});

test('the focus stays where one types after an answer was stopped by keyboard', async ({ page }) => {
  await settings(page, { maxTokens: 1024 });
  await arrive(page);
  await ask(page, 'Write a long story about a lighthouse keeper and the sea.');
  await expect(answers(page).last().locator('.markdown')).toBeVisible();
  await page.getByRole('button', { name: 'Stop the answer' }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByText('You stopped this answer.')).toBeVisible();
  await expect(composer(page)).toBeFocused();
});

test('a question is edited as it is written', async ({ page }) => {
  await settings(page, { maxTokens: 8 });
  await arrive(page);
  await ask(page, 'Count to');
  await answered(page);
  await questions(page).first().hover();
  await page.getByRole('button', { name: 'Edit and ask again' }).click();
  const field = page.getByRole('textbox', { name: 'Edit your question' });
  await expect(field).toBeFocused();
  // The caret is at the end; Shift+Enter makes a line, Enter sends.
  await page.keyboard.type(' three');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('please');
  await expect(field).toHaveValue('Count to three\nplease');
  await page.keyboard.press('Enter');
  await expect(field).toHaveCount(0);
  await answered(page);
  await expect(questions(page).first().locator('.bubble')).toHaveText('Count to three\nplease', { useInnerText: true });
});

test('a seed that is none is refused in words, and nothing is sent', async ({ page }) => {
  await settings(page, { maxTokens: 8 });
  await arrive(page);
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Seed').fill('abc');
  await expect(page.getByRole('alert')).toContainText('not a whole number');
  await page.keyboard.press('Escape');
  await ask(page, 'Hello?');
  await expect(page.getByRole('alert')).toContainText('The seed “abc” in the settings is not a whole number');
  await expect(composer(page)).toHaveValue('Hello?');
  await expect(questions(page)).toHaveCount(0);
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Seed').fill('');
  await page.keyboard.press('Escape');
  await composer(page).press('Enter');
  await answered(page);
});

test('another answer has another seed, also with a fixed one', async ({ page }) => {
  await settings(page, { maxTokens: 8, temperature: 1, seed: '7' });
  await arrive(page);
  await ask(page, 'Say something.');
  await answered(page);
  const seed = async () => {
    await answers(page).last().getByRole('button', { name: /How this answer was made/ }).click();
    const text = await page.getByRole('dialog').getByText('Seed', { exact: true }).locator('+ dd').innerText();
    await page.keyboard.press('Escape');
    return text.trim();
  };
  expect(await seed()).toBe('7');
  await answers(page).last().getByRole('button', { name: 'Answer again' }).click();
  // Eight tokens can be there before the page is looked at again: ask for the seed until it changes.
  await expect(async () => {
    await answered(page);
    expect(await seed()).not.toBe('7');
  }).toPass({ timeout: 60_000 });
});

test('keys that are none are told apart', async ({ page }) => {
  await arrive(page);
  await page.getByRole('button', { name: 'You', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Use a key from elsewhere' })).toBeVisible();
  const field = page.getByLabel(/Use another key/);
  const pem = (label: string) => `-----BEGIN ${label}-----\nMC4CAQAw\n-----END ${label}-----`;
  for (const [text, said] of [
    ['garbage', 'This is not a key.'],
    ['{"a": 1}', 'This is not a key.'],
    [pem('ENCRYPTED PRIVATE KEY'), 'encrypted with a password'],
    [pem('PUBLIC KEY'), 'public key'],
    [pem('RSA PRIVATE KEY'), 'not an Ed25519 key'],
    [pem('PRIVATE KEY'), 'not an Ed25519 key'],
  ]) {
    await field.fill(text ?? '');
    await page.getByRole('button', { name: 'Use it' }).click();
    await expect(page.getByRole('alert')).toContainText(said ?? '');
    await expect(page.getByRole('alert')).toContainText('You can paste');
  }
});

test('visitors read the settings in units, by subject', async ({ page }) => {
  await page.goto('/#/admin');
  const card = page.getByRole('region', { name: 'Settings of the canister' });
  await expect(card.getByRole('heading', { name: 'Memory' })).toBeVisible();
  await expect(card.getByText('Largest cache').locator('+ dd')).toHaveText('16 GiB');
  await expect(card.getByText('Work of a round').locator('+ dd')).toHaveText('1.9 billion instructions');
  await expect(card.getByRole('textbox')).toHaveCount(0);
  // Where it says that only controllers may change something is the way to a controller's key.
  await page.getByRole('button', { name: 'Use it in this browser' }).click();
  await expect(page.getByRole('heading', { name: 'Use a key from elsewhere' })).toBeVisible();
});

test('settings that do not hold are refused, and “Saved.” goes', async ({ browser }) => {
  const admin = await administrator(browser);
  const card = admin.getByRole('region', { name: 'Settings of the canister' });
  const save = card.getByRole('button', { name: 'Save' });
  const answersAtOnce = card.getByLabel('Answers at once', { exact: true });
  const usual = await answersAtOnce.inputValue();
  await answersAtOnce.fill('0');
  await save.click();
  await expect(card.getByRole('alert')).toContainText('Answers at once: 0 is out of range');
  await answersAtOnce.fill('63');
  await expect(card.getByRole('alert')).toHaveCount(0);
  await save.click();
  await expect(card.getByText('Saved.')).toBeVisible();
  await answersAtOnce.fill('');
  await expect(card.getByText('Saved.')).toHaveCount(0);
  await save.click();
  await expect(card.getByRole('alert')).toContainText('a value is missing');
  await answersAtOnce.fill(usual);
  // Bytes are given in GiB.
  const cache = card.getByLabel('Largest cache', { exact: true });
  await cache.fill('1.5');
  await save.click();
  await expect(card.getByText('Saved.')).toBeVisible();
  await admin.reload();
  await expect(cache).toHaveValue('1.5');
  await cache.fill('16');
  await save.click();
  await expect(card.getByText('Saved.')).toBeVisible();
  await admin.context().close();
});

test('a controller says who may ask', async ({ page, browser }) => {
  await settings(page, { maxTokens: 8 });
  await arrive(page);
  await page.getByRole('button', { name: 'You', exact: true }).click();
  const principal = (await page.getByText('Principal', { exact: true }).locator('+ dd').innerText()).trim();
  await page.keyboard.press('Escape');

  const admin = await administrator(browser);
  const who = admin.getByRole('region', { name: 'Single callers' });
  const field = who.getByLabel('Principals, one or more');
  await field.fill('nobody');
  await who.getByRole('button', { name: 'May not ask' }).click();
  await expect(who.getByRole('alert')).toContainText('“nobody” is not a principal');
  await field.fill(principal);
  await who.getByRole('button', { name: 'May not ask' }).click();
  await expect(who.getByText('Saved: 1 caller')).toBeVisible();
  await ask(page, 'May I?');
  await expect(page.getByRole('alert')).toContainText('You may not do this');
  await field.fill(principal);
  await who.getByRole('button', { name: 'As everyone else' }).click();
  await expect(who.getByText('Saved: 1 caller')).toBeVisible();
  await composer(page).press('Enter');
  await answered(page);
  await admin.context().close();
});

test('on a phone everything that can be pressed is large enough', async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await ask(page, 'Write `a` in Python.');
  await answered(page);
  const small = () =>
    page.evaluate(() => {
      const pressed = 'button, a[href], summary, select, input:not([type=range]):not(.visually-hidden), textarea, label.drop';
      return [...document.querySelectorAll<HTMLElement>(pressed)]
        .filter((element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest('[inert], .markdown p'))
        .filter((element) => !element.classList.contains('skip'))
        .map((element) => ({ name: element.outerHTML.slice(0, 90), height: element.getBoundingClientRect().height }))
        .filter(({ height }) => height > 0 && height < 43.9);
    });
  expect(await small()).toEqual([]);
  await page.getByRole('button', { name: 'Settings' }).click();
  expect(await small()).toEqual([]);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Chats' }).click();
  expect(await small()).toEqual([]);
  await page.getByRole('button', { name: 'You', exact: true }).click();
  expect(await small()).toEqual([]);
  await page.keyboard.press('Escape');
  await page.goto('/#/admin');
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Models', exact: true })).toBeVisible();
  expect(await small()).toEqual([]);
});
