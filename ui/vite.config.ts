import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// The server mounts the built files at /static/ and serves index.html at / and /dashboard.
// VEDETTE_UI_OUT is set by hatch_build.py, which builds in a folder of its own.
const target = process.env.VEDETTE_UI_OUT ?? '../src/vedette/web/static';
const server = process.env.VEDETTE_URL ?? 'http://127.0.0.1:9797';

export default defineConfig({
  base: '/static/',
  plugins: [svelte()],
  build: {
    outDir: target,
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    // Content Security Policy: nothing may become a data: address.
    assetsInlineLimit: 0,
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/api': { target: server, ws: true, changeOrigin: true } },
  },
});
