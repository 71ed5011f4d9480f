import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { render } from '../text/markdown';

/** An answer: Markdown made safe, and a button on every block of code. */
export function Markdown({ text }: { text: string }) {
  const box = useRef<HTMLDivElement>(null);
  const html = useMemo(() => render(text), [text]);
  useLayoutEffect(() => {
    for (const block of box.current?.querySelectorAll('pre') ?? []) {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'copy-code';
      button.textContent = 'Copy';
      button.onclick = async () => {
        await navigator.clipboard.writeText(block.querySelector('code')?.textContent ?? '');
        button.textContent = 'Copied';
      };
      block.append(button);
    }
  }, [html]);
  return <div class="markdown" ref={box} dangerouslySetInnerHTML={{ __html: html }} />;
}
