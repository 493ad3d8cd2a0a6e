/** The service worker: keeps the page on the device, so that it works offline. */

/** What of a service worker's scope is used here; the types of the DOM and of workers clash. */
interface Scope {
  addEventListener(type: string, listener: (event: Extendable) => void): void;
  location: Location;
}
interface Extendable {
  request: Request;
  waitUntil(done: Promise<unknown>): void;
  respondWith(response: Promise<Response>): void;
}
const scope = self as unknown as Scope;

/** The build puts the files and a hash of their contents here. */
const { version, files } = JSON.parse('__FILES__') as { version: string; files: string[] };
const HOME = './';

scope.addEventListener('install', (event) => event.waitUntil(store()));
scope.addEventListener('activate', (event) => event.waitUntil(forgetOthers()));
scope.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== scope.location.origin) return;
  event.respondWith(answer(event.request));
});

async function store(): Promise<void> {
  const cache = await caches.open(version);
  // The browser's own cache may hold an old page.
  const requests = [HOME, ...files].map((file) => new Request(file, { cache: 'no-cache' }));
  await cache.addAll(requests);
}

async function forgetOthers(): Promise<void> {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith('extd-') && name !== version);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(version);
  const known = await cache.match(request, { ignoreSearch: true, ignoreVary: true });
  return isolated(known ?? (await fetch(request)));
}

/** With the headers that let the detector use threads, on hosts that cannot send them. */
function isolated(response: Response): Response {
  // An opaque redirect: the browser follows it, and it cannot be copied.
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set('Cross-Origin-Opener-Policy', 'same-origin');
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp');
  const { status, statusText } = response;
  const body = status === 204 || status === 304 ? null : response.body;
  return new Response(body, { status, statusText, headers });
}
