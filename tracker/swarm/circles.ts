import type { NodeId } from '../../core/metainfo.ts'

/** A listed node, and where it stands. */
interface Located {
  readonly node: NodeId
  readonly zone: string
  readonly rack: string
}

/** Nodes of one place. Invariant: each is in the list once, at the index that the map has. */
export class Circle<Node extends Located> {
  readonly #nodes: Node[] = []
  readonly #indexes = new Map<Node, number>()

  get size(): number {
    return this.#nodes.length
  }

  has(node: Node): boolean {
    return this.#indexes.has(node)
  }

  add(node: Node): void {
    if (!this.has(node)) this.#indexes.set(node, this.#nodes.push(node) - 1)
  }

  delete(node: Node): void {
    const index = this.#indexes.get(node)
    if (index === undefined) return
    this.#indexes.delete(node)
    const last = this.#nodes.pop()!
    if (last === node) return
    this.#nodes[index] = last
    this.#indexes.set(last, index)
  }

  /** Up to `max` nodes, from a random one on. */
  some(max: number, random: () => number): Node[] {
    const from = Math.floor(random() * this.size)
    const first = this.#nodes.slice(from, from + max)
    return [...first, ...this.#nodes.slice(0, Math.min(from, max - first.length))]
  }
}

/** The listed nodes of a cluster by where they stand. */
export class Circles<Node extends Located> {
  readonly #all = new Circle<Node>()
  readonly #zones = new Map<string, Circle<Node>>()
  /** By zone and rack. */
  readonly #racks = new Map<string, Circle<Node>>()

  add(node: Node): void {
    this.#all.add(node)
    circleOf(this.#zones, node.zone).add(node)
    circleOf(this.#racks, rackKey(node)).add(node)
  }

  /** Call it before the node's place changes. */
  delete(node: Node): void {
    this.#all.delete(node)
    deleteFrom(this.#zones, node.zone, node)
    deleteFrom(this.#racks, rackKey(node), node)
  }

  /**
   * Rack, zone and cluster of the node, the smallest first, without those that hold nobody whom the one before does not: one
   * circle where places make no difference.
   */
  around(node: Node): Circle<Node>[] {
    const { zone, rack } = node
    const circles = [
      ...(zone !== '' && rack !== '' ? [this.#racks.get(rackKey(node))!] : []),
      ...(zone === '' ? [] : [this.#zones.get(zone)!]),
      this.#all,
    ]
    return circles.filter((circle, at) => circle.size > 1 && circle.size !== circles[at + 1]?.size)
  }
}

/** No name has a slash. */
function rackKey({ zone, rack }: Located): string {
  return `${zone}/${rack}`
}

function circleOf<Node extends Located>(circles: Map<string, Circle<Node>>, key: string): Circle<Node> {
  let circle = circles.get(key)
  if (circle === undefined) {
    circle = new Circle()
    circles.set(key, circle)
  }
  return circle
}

function deleteFrom<Node extends Located>(circles: Map<string, Circle<Node>>, key: string, node: Node): void {
  const circle = circles.get(key)
  circle?.delete(node)
  if (circle?.size === 0) circles.delete(key)
}
