import { defineConfig, devices } from '@playwright/test';

// The canister with the model, the replica and the browser are all real; tests/chat_page.rs starts them
// and runs this. One worker: there is one model, and tests look at what it does.
export default defineConfig({
  testDir: 'tests',
  outputDir: '../target/page-tests',
  workers: 1,
  fullyParallel: false,
  retries: 0,
  timeout: 90_000,
  expect: { timeout: 30_000 },
  reporter: [['list']],
  use: {
    baseURL: process.env.PAGE_URL,
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox'],
    },
  },
  projects: [{ name: 'chromium', use: { ...devices['Desktop Chrome'], channel: undefined } }],
});
