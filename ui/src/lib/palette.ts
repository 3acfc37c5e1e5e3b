/** Colours of the canvas. Series avoid green, orange and red, which are kept for states. */
import type { Theme } from './theme.svelte';

const LIGHT = ['#2f6bdd', '#8a4fd3', '#0b8fa6', '#c2468f', '#7a6a2f', '#56657c', '#2a8cc4', '#9d6a4c'];
const DARK = ['#6ea0ff', '#b58cf5', '#43c5d9', '#f07fbf', '#cdb866', '#9fb0c9', '#7cc8f5', '#d3a283'];

/** How many colours there are before they come again. */
export const SERIES_COLOURS = LIGHT.length;

export function seriesColour(index: number, theme: Theme): string {
  const colours = theme === 'dark' ? DARK : LIGHT;
  return colours[index % colours.length] ?? '#888888';
}

/** Beyond the eighth series the colours come again, dashed. */
export function seriesDash(index: number): number[] | undefined {
  const round = Math.floor(index / SERIES_COLOURS);
  return round === 0 ? undefined : round === 1 ? [6, 3] : [2, 3];
}

/** DSH-10's colours of states, for lines on the canvas. */
export const STATE_LINES = { target: '#4caf50', warning: '#ff9800', critical: '#f44336' } as const;

export function chrome(theme: Theme): { text: string; grid: string; cursor: string; paper: string } {
  return theme === 'dark'
    ? { text: '#9aa7b8', grid: '#262f3b', cursor: '#8b98aa', paper: '#161c24' }
    : { text: '#5a6675', grid: '#e8ecf1', cursor: '#6b7788', paper: '#ffffff' };
}
