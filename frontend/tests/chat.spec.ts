import { answered, answers, arrive, ask, composer, expect, questions, settings, shoot, test, visitor, watchErrors } from './support';

test('asks, shows the text while it grows, and how it was made', async ({ page }) => {
  await settings(page, { maxTokens: 200 });
  await arrive(page);
  await shoot(page, 'empty');
  await ask(page, 'What is gravity? Explain it in detail, with a list of three examples.');
  const text = answers(page).last().locator('.markdown');
  await expect(text).toBeVisible();
  // The picture of the rounds is there while it writes.
  await expect(page.getByRole('img', { name: /instructions/ })).toBeVisible();
  const lengths = new Set<number>();
  await expect(async () => {
    lengths.add((await text.innerText()).length);
    expect(lengths.size).toBeGreaterThan(2);
  }).toPass({ intervals: [100] });
  await shoot(page, 'writing');
  const answer = await answered(page);
  expect(answer).toMatch(/gravity/i);
  await shoot(page, 'answer');

  await page.getByRole('button', { name: /How this answer was made/ }).click();
  const drawer = page.getByRole('dialog', { name: 'How this answer was made' });
  await expect(drawer.getByText('Tokens written').locator('+ dd')).toHaveText(/^\d+$/);
  await expect(drawer.getByText('SHA-256 of the model').locator('+ dd')).toHaveText(
    'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  );
  await expect(drawer.getByText('Cycles', { exact: true }).locator('+ dd')).toContainText('billion');
  await shoot(page, 'details');
  await page.keyboard.press('Escape');
  await expect(drawer).toBeHidden();
});

test('stops an answer and keeps what there is', async ({ page }) => {
  await settings(page, { maxTokens: 1024 });
  await arrive(page);
  await ask(page, 'Write a long story about a lighthouse keeper and the sea.');
  await expect(answers(page).last().locator('.markdown')).toBeVisible();
  await page.getByRole('button', { name: 'Stop the answer' }).click();
  await expect(page.getByText('You stopped this answer.')).toBeVisible();
  expect((await answered(page)).length).toBeGreaterThan(0);
  await expect(page.getByRole('button', { name: 'Send' })).toBeVisible();
  await shoot(page, 'stopped');
});

test('goes on after a reload in the middle, with the same text', async ({ page, browser }) => {
  const question = 'Tell me about the history of the city of Rome.';
  await settings(page, { maxTokens: 100 });
  await arrive(page);
  await ask(page, question);
  const text = answers(page).last().locator('.markdown');
  await expect(text).toBeVisible();
  const before = (await text.innerText()).trim();
  await page.reload();
  await expect(answers(page).last()).toHaveAttribute('aria-busy', 'true');
  const after = await answered(page);
  expect(after.length).toBeGreaterThan(before.length);
  expect(after.startsWith(before.slice(0, 10))).toBe(true);

  // Somebody who never reloads gets the same.
  const other = await visitor(browser, { maxTokens: 100 });
  await arrive(other);
  await ask(other, question);
  expect(await answered(other)).toBe(after);
  await other.context().close();
});

test('the second turn remembers the first; editing and asking again replace', async ({ page }) => {
  await settings(page);
  await arrive(page);
  await ask(page, 'My name is Aurelia. Say hello to me.');
  await answered(page);
  await ask(page, 'What is my name?');
  await expect(answers(page)).toHaveCount(2);
  expect(await answered(page)).toContain('Aurelia');
  await shoot(page, 'conversation');

  // Another answer to the same question: greedy, so the same one, by another generation.
  const second = await answered(page);
  await answers(page).last().getByRole('button', { name: 'Answer again' }).click();
  await expect(answers(page).last()).toHaveAttribute('aria-busy', 'true');
  expect(await answered(page)).toBe(second);
  await expect(answers(page)).toHaveCount(2);

  await questions(page).first().hover();
  await questions(page).first().getByRole('button', { name: 'Edit and ask again' }).click();
  const field = page.locator('form.editing textarea');
  await field.fill('My name is Benedict. Say hello to me.');
  await page.getByRole('button', { name: 'Ask again', exact: true }).click();
  await expect(answers(page)).toHaveCount(1);
  await answered(page);
  await expect(questions(page).first()).toContainText('Benedict');
  await page.reload();
  await expect(questions(page)).toHaveCount(1);
});

test('two tabs show the same chat', async ({ page, context }) => {
  await settings(page, { maxTokens: 48 });
  await arrive(page);
  await ask(page, 'Name three colours.');
  await expect(page).toHaveURL(/#\/chat\/\d+$/);
  const second = await context.newPage();
  const errors = watchErrors(second);
  await second.goto(page.url());
  const here = await answered(page);
  expect(await answered(second)).toBe(here);
  // What is asked in one is seen in the other.
  await ask(second, 'Name one more.');
  await expect(answers(page)).toHaveCount(2);
  const there = await answered(second);
  expect(await answered(page)).toBe(there);
  expect(errors).toEqual([]);
});

test('two users do not see each other’s chats', async ({ page, browser }) => {
  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await ask(page, 'The word of the day is marmalade.');
  await answered(page);
  await expect(page.getByRole('navigation', { name: 'Your chats' })).toContainText('marmalade');

  const other = await visitor(browser);
  await arrive(other);
  await expect(other.getByText('Your chats will be here.')).toBeVisible();
  await expect(other.getByRole('navigation', { name: 'Your chats' })).not.toContainText('marmalade');
  await other.goto(page.url());
  await other.reload();
  await expect(other.getByRole('heading', { name: 'This chat cannot be shown' })).toBeVisible();
  await shoot(other, 'not-yours');
  await other.context().close();
});

test('chats are listed, renamed and deleted', async ({ page }) => {
  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await ask(page, 'Is water wet?');
  await answered(page);
  const chats = page.getByRole('navigation', { name: 'Your chats' });
  await chats.getByRole('link', { name: /Is water wet/ }).hover();
  await chats.getByRole('button', { name: 'Rename Is water wet?' }).click();
  await page.getByRole('textbox', { name: 'New title' }).fill('Water');
  await page.keyboard.press('Enter');
  await expect(chats.getByRole('link', { name: /^Water/ })).toBeVisible();
  await chats.getByRole('link', { name: /^Water/ }).hover();
  await chats.getByRole('button', { name: 'Delete Water' }).click();
  await chats.getByRole('button', { name: 'Delete', exact: true }).click();
  await expect(chats.getByRole('link')).toHaveCount(0);
  await expect(page.getByRole('heading', { name: 'What would you like to know?' })).toBeVisible();
});

test('a system prompt and settings reach the model', async ({ page }) => {
  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('System prompt').fill('You are a pirate.');
  await page.getByLabel('Seed').fill('7');
  await shoot(page, 'settings');
  await page.keyboard.press('Escape');
  await ask(page, 'Who are you?');
  await answered(page);
  await page.getByText('System prompt', { exact: true }).click();
  await expect(page.getByText('You are a pirate.')).toBeVisible();
  await page.getByRole('button', { name: /How this answer was made/ }).click();
  await expect(page.getByRole('dialog').getByText('Seed', { exact: true }).locator('+ dd')).toHaveText('7');
});

test('the keyboard alone is enough', async ({ page }) => {
  await settings(page, { maxTokens: 16 });
  await arrive(page);
  await page.keyboard.press('Tab');
  await expect(composer(page)).not.toBeFocused();
  await composer(page).focus();
  await page.keyboard.type('Say yes.');
  await page.keyboard.press('Enter');
  await answered(page);
  // From the composer back to the answer's details.
  const details = page.getByRole('button', { name: /How this answer was made/ });
  for (let i = 0; i < 20 && !(await details.evaluate((e) => e === document.activeElement)); i++) {
    await page.keyboard.press('Shift+Tab');
  }
  await expect(details).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();
  await expect(details).toBeFocused();
});
