/** Light or dark: the system's wish until somebody chooses; the choice is remembered. */

export type Theme = 'light' | 'dark';
const KEY = 'vedette-theme';

function remembered(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : null;
  } catch (error) {
    // Storage may be forbidden; the page then follows the system.
    if (error instanceof DOMException) return null;
    throw error;
  }
}

class ThemeChoice {
  #system = matchMedia('(prefers-color-scheme: dark)');
  #chosen = $state<Theme | null>(remembered());
  #wish = $state<Theme>(this.#system.matches ? 'dark' : 'light');
  readonly current: Theme = $derived(this.#chosen ?? this.#wish);

  constructor() {
    this.#system.addEventListener('change', (e) => (this.#wish = e.matches ? 'dark' : 'light'));
    this.#apply();
  }

  toggle(): void {
    this.#chosen = this.current === 'dark' ? 'light' : 'dark';
    try {
      localStorage.setItem(KEY, this.#chosen);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
    this.#apply();
  }

  #apply(): void {
    if (this.#chosen) document.documentElement.dataset.theme = this.#chosen;
  }
}

export const theme = new ThemeChoice();
