import type { RoundFigures } from '../bindings/llm.did';
import { count, large, plural } from '../text/format';

const SHOWN = 48;
const LEAST = 24;
const WIDTH = 7;
const HEIGHT = 24;

/** Each message of a generation: its instructions against its budget. */
export function Rounds({ rounds, total }: { rounds: RoundFigures[]; total: number }) {
  const last = rounds.slice(-SHOWN);
  const newest = last.at(-1);
  if (!newest) return null;
  const words =
    `Round ${count(total)}: ${large(newest.instructions)} of ${large(newest.budget)} instructions, ` +
    plural(newest.tokens, 'token');
  return (
    <figure class="rounds">
      <svg
        viewBox={`0 0 ${Math.max(LEAST, last.length) * WIDTH} ${HEIGHT}`}
        preserveAspectRatio="xMinYMid meet"
        role="img"
        aria-label={`The last ${plural(last.length, 'round')}. ${words}`}
      >
        {last.map((round, i) => {
          const share = Math.min(1, Number(round.instructions) / Math.max(1, Number(round.budget)));
          const high = Math.max(2, share * HEIGHT);
          return (
            <g key={total - last.length + i}>
              <rect class="budget" x={i * WIDTH} y={0} width={WIDTH - 2} height={HEIGHT} rx={1.5} />
              <rect
                class={round.tokens > 0 ? 'used' : 'used reading'}
                x={i * WIDTH}
                y={HEIGHT - high}
                width={WIDTH - 2}
                height={high}
                rx={1.5}
              >
                <title>{`${large(round.instructions)} instructions, ${plural(round.tokens, 'token')}`}</title>
              </rect>
            </g>
          );
        })}
      </svg>
      <figcaption>{words}</figcaption>
    </figure>
  );
}
