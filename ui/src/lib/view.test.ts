import { describe, expect, it } from 'vitest';
import { DEFAULT_VIEW, gridFor, readView, RANGES, stepFor, toggled, type View, writeView, zoomTo } from './view';

describe('the address', () => {
  it('gives back the view that was written into it', () => {
    const views: View[] = [
      DEFAULT_VIEW,
      { range: '6h', zoom: { from: 1000, to: 2000 }, tables: ['a', 'b'], hidden: ['p/x, y&z', 'p/é'] },
    ];
    for (const view of views) expect(readView(writeView(view))).toEqual(view);
    expect(writeView(DEFAULT_VIEW)).toBe('');
  });

  it.each(['?range=3y', '?from=5', '?from=9&to=3', '?from=x&to=y', '?from=100&to=101', '?range=toString'])(
    '%s makes no sense and means the default',
    (search) => expect(readView(search)).toEqual(DEFAULT_VIEW),
  );

  it('leaves parameters of others alone', () => {
    expect(writeView({ ...DEFAULT_VIEW, range: '1h' }, '?app=shop&range=5m')).toBe('?app=shop&range=1h');
  });
});

describe('the grid', () => {
  it('has a few hundred points at every range, and is never finer than the refresh', () => {
    for (const seconds of Object.values(RANGES)) {
      const step = stepFor(seconds, 1);
      expect(seconds / step).toBeGreaterThanOrEqual(100);
      expect(seconds / step).toBeLessThanOrEqual(300);
    }
    expect(stepFor(300, 15)).toBe(15);
    expect(stepFor(86_400 * 365, 1)).toBe(172_800);
  });

  it('stands on multiples of the step within the span', () => {
    const grid = gridFor(DEFAULT_VIEW, 1_000_003, 1);
    expect([grid.start % grid.step, grid.end % grid.step]).toEqual([0, 0]);
    expect(grid.start).toBeGreaterThanOrEqual(1_000_003 - 900);
    expect(grid.end).toBeLessThanOrEqual(1_000_003);
  });
});

it('zooms to whole seconds, either way round, and never below ten of them', () => {
  expect(zoomTo(100.4, 150.2)).toEqual({ from: 100, to: 151 });
  expect(zoomTo(150.2, 100.4)).toEqual({ from: 100, to: 151 });
  expect(zoomTo(100, 102)).toEqual({ from: 96, to: 106 });
  expect(zoomTo(NaN, 5)).toBeNull();
});

it('toggles an item of a list', () => {
  expect(toggled(['a'], 'b')).toEqual(['a', 'b']);
  expect(toggled(['a', 'b'], 'a')).toEqual(['b']);
});
