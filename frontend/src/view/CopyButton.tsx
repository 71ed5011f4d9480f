import { useState } from 'preact/hooks';
import { IconButton } from './icons';

/** Copies a text, and says that it did. */
export function CopyButton({ text, label }: { text: () => string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text());
    setDone(true);
    setTimeout(() => setDone(false), 1_500);
  };
  return (
    <IconButton icon={done ? 'check' : 'copy'} label={done ? 'Copied' : label} onClick={() => void copy()} />
  );
}
