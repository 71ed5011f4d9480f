import DOMPurify from 'dompurify';
import { Marked } from 'marked';

// Two walls: HTML in the text is shown as it was written and never becomes markup, and what Markdown
// makes of the rest is cut down to these tags and attributes. The page's policy is the third.
const TAGS = [
  'p', 'br', 'hr', 'strong', 'em', 'del', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li', 'a',
  'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td',
];
const ATTRIBUTES = ['href', 'title', 'start', 'data-language', 'target', 'rel', 'tabindex'];

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const marked = new Marked({ gfm: true, breaks: true, async: false });
marked.use({
  renderer: {
    html: ({ text }) => escape(text),
    // An image would be fetched from elsewhere: its text is enough.
    image: ({ text, href }) => escape(text || href),
    code: ({ text, lang }) =>
      `<pre tabindex="0" data-language="${escape((lang ?? '').split(/\s/)[0] ?? '')}"><code>${escape(text)}</code></pre>`,
  },
});

const purify = DOMPurify(window);
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') {
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
  }
});

/** Markdown of a model as HTML that is safe to show. */
export function render(text: string): string {
  return purify.sanitize(marked.parse(text) as string, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  });
}
