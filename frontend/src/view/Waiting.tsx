/** What is being waited for, in words and with dots that move. */
export function Waiting({ words }: { words: string }) {
  return (
    <p class="doing">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {words}
    </p>
  );
}
