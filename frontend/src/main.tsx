import './style/base.css';
import './style/layout.css';
import './style/chat.css';
import './style/panels.css';
import './style/touch.css';
import { render } from 'preact';
import { App } from './app';
import { start } from './state/session';

const root = document.getElementById('app');
if (root) render(<App />, root);
void start();
