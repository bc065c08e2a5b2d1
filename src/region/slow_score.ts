// SPDX-License-Identifier: Apache-2.0
// How slow a store is, from 1 (not at all) to 100: what it says of itself, and what reads see of it.
// Time passes when somebody asks, so that stores that nobody reads from need no timers.

/** Both scores of one store. */
export class Slowness {
  readonly #own: OwnScore = new OwnScore();
  readonly #seen: SeenScore;

  constructor(nowMs: number) {
    this.#seen = new SeenScore(nowMs);
  }

  /** One of the two is so high that reads had better go elsewhere. */
  isSlow(nowMs: number): boolean {
    return this.#own.at(nowMs) >= SLOW || this.#seen.at(nowMs) >= SLOW;
  }

  /** Takes over what the store says of itself. */
  report(score: number, nowMs: number): void {
    this.#own.set(score, nowMs);
  }

  /** Tells, once in a while, that the store has not said anything for so long that it should be asked. */
  takeQuestion(nowMs: number): boolean {
    return this.#own.takeQuestion(nowMs);
  }

  /** Counts a read that was answered, or not, after this time. */
  record(durationMs: number, nowMs: number): void {
    this.#seen.record(durationMs, nowMs);
  }

  /** It was found dead, or too busy to say for how long. */
  markSlow(nowMs: number): void {
    this.#seen.mark(nowMs);
  }
}

/**
 * What the store says of itself: with its answers, and when it is asked. A score that is not renewed
 * fades.
 */
class OwnScore {
  #score = 1;
  #setAt: number | undefined;
  #askedAt = -Infinity;

  at(nowMs: number): number {
    if (this.#setAt === undefined || this.#score <= 1) return 1;
    const elapsed = nowMs - this.#setAt;
    return elapsed < TICK_MS ? this.#score : Math.max(1, Math.round(this.#score - elapsed * FADE_PER_MS));
  }

  set(score: number, nowMs: number): void {
    const isChange = score !== this.#score;
    // Several connections tell the same at about the same time, in any order.
    if (isChange && this.#setAt !== undefined && nowMs - this.#setAt < SETTLE_MS) return;
    this.#score = score;
    if (isChange || score > 1) this.#setAt = nowMs;
  }

  takeQuestion(nowMs: number): boolean {
    if (this.#setAt === undefined || this.#score <= 1) return false;
    if (nowMs - Math.max(this.#setAt, this.#askedAt) < TICK_MS) return false;
    this.#askedAt = nowMs;
    return true;
  }
}

/**
 * What reads see of the store: it slows down when fewer of them are answered, and each takes longer,
 * than before. Client-go's rule (`internal/locate/slow_score.go`), in intervals of the same length.
 */
class SeenScore {
  readonly #counts: Trend = new Trend();
  readonly #costs: Trend = new Trend();
  #score = 1;
  #tickedAt: number;
  #count = 0;
  #totalMs = 0;

  constructor(nowMs: number) {
    this.#tickedAt = nowMs;
  }

  at(nowMs: number): number {
    this.#pass(nowMs);
    return this.#score;
  }

  record(durationMs: number, nowMs: number): void {
    this.#pass(nowMs);
    this.#count++;
    if (durationMs >= HOPELESS_MS) this.#score = WORST;
    else this.#totalMs += durationMs;
  }

  mark(nowMs: number): void {
    this.#pass(nowMs);
    this.#score = WORST;
  }

  #pass(nowMs: number): void {
    const ticks = Math.floor((nowMs - this.#tickedAt) / TICK_MS);
    if (ticks < 1) return;
    this.#tickedAt += ticks * TICK_MS;
    if (this.#count === 0) return this.#recover(ticks * RECOVERY_IN_SILENCE);
    const fewer = this.#counts.add(this.#count);
    const longer = this.#costs.add(this.#totalMs / this.#count);
    this.#count = 0;
    this.#totalMs = 0;
    if (fewer <= -NOTABLE && longer >= NOTABLE) {
      const factor = Math.min(MOST_GROWTH, Math.abs(longer / fewer));
      this.#score = Math.ceil(Math.min(WORST, this.#score * factor + 1));
    } else this.#recover(Math.ceil(Math.min(MOST_RECOVERY, 1 + Math.abs(fewer))));
    this.#recover((ticks - 1) * RECOVERY_IN_SILENCE);
  }

  #recover(points: number): void {
    this.#score = Math.max(1, this.#score - points);
  }
}

/** A value for each interval, and how far a new one is from the mean of the last ones. */
class Trend {
  readonly #values: number[] = [];
  #mean = 0;

  /** Takes the next value and returns its distance from the mean before, as a part of that. */
  add(value: number): number {
    const before = this.#mean;
    this.#values.push(value);
    if (this.#values.length > WINDOW) this.#values.shift();
    this.#mean = this.#values.reduce((sum, one) => sum + one, 0) / this.#values.length;
    return before > 0 ? (value - before) / before : 0;
  }
}

const SLOW = 80;
const WORST = 100;
const TICK_MS = 15_000;
// 20 points a minute.
const FADE_PER_MS = 20 / 60_000;
const SETTLE_MS = 100;
const WINDOW = 10;
// Less than a tenth is noise.
const NOTABLE = 0.1;
const MOST_GROWTH = 5.43;
const MOST_RECOVERY = 2.71;
const RECOVERY_IN_SILENCE = 2;
// The longest that client-go waits for an answer.
const HOPELESS_MS = 30_000;
