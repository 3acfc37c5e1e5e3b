import { describe, expect, it } from 'vitest';
import { aligned, axisLabels, clockTime, dateTime, period, plain, short, shown, span, zone } from './format';

const text = (value: number | null, unit: string): string => plain(value, unit).replace('\u202f', ' ');

describe('values with their unit', () => {
  it.each([
    [null, 's', '–'],
    [NaN, 's', '–'],
    [Infinity, 'req/s', '–'],
    [0, 's', '0 ms'],
    [0.000_012, 's', '12 µs'],
    [0.412_34, 's', '412 ms'],
    [0.9996, 's', '1 s'],
    [1.2345, 's', '1.23 s'],
    [59.95, 's', '60 s'],
    [600, 's', '10 min'],
    [412, 'ms', '412 ms'],
    [0.999, 'ratio', '99.9 %'],
    [1, 'ratio', '100 %'],
    [0.000_51, 'ratio', '0.05 %'],
    [12.34, 'req/s', '12.3 req/s'],
    [0.000_01, 'req/s', '<0.001 req/s'],
    [1234.5, 'tokens/s', '1,235 tokens/s'],
    [3_456_000, 'count', '3.46 M'],
    [1536, 'bytes', '1.54 kB'],
    [7, '', '7'],
  ])('%s %s reads "%s"', (value, unit, expected) => {
    expect(text(value, unit)).toBe(expected);
  });

  it('leaves the unit to the title where the title states it', () => {
    expect(short(12.34, 'req/s')).toBe('12.3');
    expect(short(0.5, 'ratio')).toBe('50\u202f%');
    expect(shown(12.34, 'req/s')).toEqual({ number: '12.3', unit: 'req/s' });
  });

  it('gives the figures of a list the same digits after the point', () => {
    expect(aligned([2.95, 0.593, 0.0004, 0, null], 'req/s')).toEqual(['2.95', '0.59', '<0.01', '0.00', '–']);
    expect(aligned([12.34, 0.5], 'req/s')).toEqual(['12.3', '0.5']);
    expect(aligned([3, 12], 'count')).toEqual(['3', '12']);
    expect(aligned([5327.4, 12.34], 'tokens/s')).toEqual(['5,327', '12.3']);
    expect(aligned([0.5, 12], 's')).toEqual(['500\u202fms', '12\u202fs']);
  });

  it('gives all ticks of an axis the same unit', () => {
    expect(axisLabels([0, 0.5, 1, 1.5], 's')).toEqual(['0\u202fs', '0.5\u202fs', '1\u202fs', '1.5\u202fs']);
    expect(axisLabels([0, 0.25, 0.5], 's')).toEqual(['0\u202fms', '250\u202fms', '500\u202fms']);
    expect(axisLabels([0, 0.025], 'ratio')).toEqual(['0\u202f%', '2.5\u202f%']);
  });
});

describe('times', () => {
  it.each([
    [0, '0 s'],
    [59_400, '59 s'],
    [155_000, '2 min 35 s'],
    [900_000, '15 min'],
    [3_600_000, '1 h'],
    [5_400_000, '1 h 30 min'],
    [90_000_000, '1 d 1 h'],
    [-5, '0 s'],
  ])('%s ms last "%s"', (ms, expected) => expect(span(ms)).toBe(expected));

  it('states the date only where the two ends need it', () => {
    const noon = new Date(2026, 10, 21, 12, 0, 5).getTime();
    expect(period(noon - 300_000, noon)).toBe('11:55:05 – 12:00:05');
    expect(period(noon - 86_400_000, noon)).toBe('2026-11-20 12:00 – 2026-11-21 12:00');
    expect(dateTime(noon)).toBe('2026-11-21 12:00:05');
    expect(clockTime(null)).toBe('–');
  });

  it('names the zone by its offset', () => {
    expect([0, -60, 210, -330].map(zone)).toEqual(['UTC', 'UTC+1', 'UTC−3:30', 'UTC+5:30']);
  });
});
