/* The ten people that can be seen: who they are, and the voice that each was drawn for. */

/**
 * `voice`, `pitch` and `rate` are those of espeak-ng; where the server has no such voice, one of the same `gender` is
 * taken.
 */
export const PERSONAS = [
  {
    id: "maya",
    name: "Maya",
    look: "long brown hair, red pullover",
    sound: "bright and warm, medium pace, American accent",
    gender: "female",
    voice: "en-us+f3",
    pitch: 52,
    rate: 164,
  },
  {
    id: "daniel",
    name: "Daniel",
    look: "beard, blue jacket",
    sound: "deep, calm and clear, American accent",
    gender: "male",
    voice: "en-us+m3",
    pitch: 34,
    rate: 158,
  },
  {
    id: "amara",
    name: "Amara",
    look: "short curls, yellow pullover",
    sound: "rich and expressive, American accent",
    gender: "female",
    voice: "en-us+f2",
    pitch: 48,
    rate: 162,
  },
  {
    id: "hiroshi",
    name: "Hiroshi",
    look: "dark hair, light blue shirt",
    sound: "quiet, even and precise, American accent",
    gender: "male",
    voice: "en-us+m1",
    pitch: 36,
    rate: 148,
  },
  {
    id: "ingrid",
    name: "Ingrid",
    look: "grey hair, glasses",
    sound: "firm and articulate, lower pitch, Scottish accent",
    gender: "female",
    voice: "en-gb-scotland+f4",
    pitch: 40,
    rate: 154,
  },
  {
    id: "mateo",
    name: "Mateo",
    look: "dark curls, green apron",
    sound: "cheerful and a little hoarse, American accent",
    gender: "male",
    voice: "en-us+m2",
    pitch: 42,
    rate: 166,
  },
  {
    id: "leila",
    name: "Leila",
    look: "green headscarf",
    sound: "soft and steady, slightly slow, British accent",
    gender: "female",
    voice: "en-gb+f2",
    pitch: 44,
    rate: 152,
  },
  {
    id: "walter",
    name: "Walter",
    look: "grey moustache, glasses",
    sound: "low, unhurried and kindly, British accent",
    gender: "male",
    voice: "en-gb+m7",
    pitch: 30,
    rate: 146,
  },
  {
    id: "priya",
    name: "Priya",
    look: "black bun, cream blazer",
    sound: "confident and quick, British accent",
    gender: "female",
    voice: "en-gb+f3",
    pitch: 50,
    rate: 172,
  },
  {
    id: "robin",
    name: "Robin",
    look: "short copper hair, green hoodie",
    sound: "light and lively, medium-high pitch, American accent",
    gender: null,
    voice: "en-us+f5",
    pitch: 46,
    rate: 170,
  },
];

/** The address of somebody's portrait. */
export const portrait = ({ id }) => `page/portrait-${id}.jpg`;

/** Whose portrait has this address; undefined for other pictures. */
export const personaOf = (address) => PERSONAS.find((persona) => portrait(persona) === address);

/**
 * The fields of a conversation in which somebody speaks with a voice of the server's that suits them.
 *
 * @param voices as the server lists them.
 * @param followed names of the fields that the server's speaker follows beside `voice`.
 * @returns null where no voice does.
 */
export function suitingVoice(persona, voices, followed) {
  if (voices.some(({ name }) => name === persona.voice)) {
    return Object.fromEntries(["voice", ...followed].filter((name) => name in persona).map((name) => [name, persona[name]]));
  }
  const other = voices.find(({ gender }) => gender !== null && gender === persona.gender);
  return other ? { voice: other.name } : null;
}
