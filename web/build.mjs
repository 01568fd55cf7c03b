// Builds dist/ from src/. Names of assets carry a hash of their content.
import { build } from 'esbuild';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';

const keep = 'unbuilt.html';
for (const name of await readdir('dist')) {
  if (name !== keep) await rm(`dist/${name}`, { recursive: true });
}

const result = await build({
  entryPoints: { app: 'src/main.ts', style: 'src/style.css', icon: 'src/icon.svg' },
  outdir: 'dist/assets',
  entryNames: '[name]-[hash]',
  assetNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  publicPath: '/assets',
  bundle: true,
  splitting: true,
  format: 'esm',
  target: ['es2022'],
  minify: true,
  metafile: true,
  legalComments: 'none',
  loader: { '.svg': 'copy', '.woff2': 'file' },
  logLevel: 'warning',
});

// The outputs by what they were made from.
const made = new Map();
for (const [path, out] of Object.entries(result.metafile.outputs)) {
  const from = out.entryPoint ?? Object.keys(out.inputs)[0];
  if (from !== undefined && !made.has(from)) made.set(from, path.replace(/^dist/, ''));
}
const values = {
  script: made.get('src/main.ts'),
  style: made.get('src/style.css'),
  icon: made.get('src/icon.svg'),
};
const template = await readFile('index.html', 'utf8');
await writeFile('dist/index.html', template.replace(/\{\{(\w+)\}\}/g, (_, name) => values[name]));

// Licences of what is in the bundle go along with it.
const licences = [];
for (const name of ['asciinema-player', '@fontsource-variable/inter', '@fontsource-variable/jetbrains-mono']) {
  const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, 'utf8'));
  licences.push(`${name} ${version}\n\n${await readFile(`node_modules/${name}/LICENSE`, 'utf8')}`);
}
await writeFile('dist/assets/licences.txt', licences.join(`\n${'-'.repeat(80)}\n\n`));
