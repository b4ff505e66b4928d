const browsers = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]] as const;
const systems = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS X", "macOS"], ["Linux", "Linux"]] as const;

/** What a browser and its system are called, by what the browser says of itself; its own words where
 *  they are not known. The order matters: most claim to be others as well. */
export function browserOf(said: string): string {
  const browser = browsers.find(([mark]) => said.includes(mark))?.[1];
  const system = systems.find(([mark]) => said.includes(mark))?.[1];
  if (!browser) return said.slice(0, 60) || "a browser without a name";
  return system ? `${browser} on ${system}` : browser;
}
