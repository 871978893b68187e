"""The words of the simulated market: categories, their topics, and the texts that are made of them.

Titles and descriptions are built from the words of an item's subcategory, so that vectors of text
carry its topic. Reviews and service texts are built from templates whose tone follows satisfaction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONTENT_TYPES = ("product", "video", "article", "service")
BRANDS_PER_CATEGORY = 5


@dataclass(frozen=True)
class Category:
    """A category: its weight in the catalogue, mix of content types, price level and topics.

    Parameters
    ----------
    price
        Median price of a product, in minor units.
    mix
        Shares of product, video, article and service.
    topics
        ``{subcategory: words}``.
    """

    name: str
    weight: float
    price: int
    mix: tuple[float, float, float, float]
    brands: tuple[str, ...]
    topics: dict[str, tuple[str, ...]]


def _category(name: str, weight: float, price: int, mix: str, brands: str, **topics: str) -> Category:
    shares = np.array([float(x) for x in mix.split()])
    return Category(
        name,
        weight,
        price,
        tuple(shares / shares.sum()),
        tuple(brands.split()),
        {topic.replace("_", " "): tuple(words.split()) for topic, words in topics.items()},
    )


CATEGORIES: tuple[Category, ...] = (
    _category(
        "beauty",
        1.5,
        12_900,
        "7 2 1 0",
        "Lumea Petalia Dewdrop Velour Camelia",
        skincare="serum cleanser moisturiser sunscreen toner",
        makeup="lipstick foundation mascara blush palette",
        haircare="shampoo conditioner hairmask dryer curls",
        fragrance="perfume cologne jasmine vanilla musk",
    ),
    _category(
        "fashion",
        1.5,
        19_900,
        "8 1 1 0",
        "Norvane Silkroad Threadbare Aurelle Kantou",
        dresses="dress skirt linen floral pleats",
        menswear="shirt trousers blazer chinos tie",
        streetwear="hoodie cargo oversized graffiti beanie",
        accessories="scarf belt handbag earrings sunglasses",
    ),
    _category(
        "shoes",
        1.0,
        32_900,
        "9 1 0 0",
        "Strider Pacewell Mountfoot Solea Kickline",
        running_shoes="running cushioning marathon mesh tempo",
        boots="boots leather ankle waterproof lining",
        sandals="sandals straps summer cork slides",
        sneakers="sneakers retro canvas platform laces",
    ),
    _category(
        "electronics",
        1.3,
        89_900,
        "7 2 1 0",
        "Volton Pixelyn Orbitek Nexaro Hummingbird",
        phones="phone camera battery charger screen",
        audio="headphones earbuds speaker bass microphone",
        computers="laptop keyboard monitor processor storage",
        wearables="smartwatch tracker strap heartrate sensor",
    ),
    _category(
        "home",
        1.2,
        15_900,
        "8 1 1 0",
        "Hearthly Nestoria Plainwood Casabel Lanterna",
        furniture="sofa bookshelf oak armchair table",
        bedding="duvet pillow mattress cotton sheets",
        lighting="lamp lantern dimmer bulb chandelier",
        storage="basket drawer organiser shelf box",
    ),
    _category(
        "kitchen",
        1.0,
        11_900,
        "7 2 1 0",
        "Ironpan Brewster Cleaver Potluck Steamwell",
        cookware="wok skillet saucepan induction lid",
        coffee="espresso grinder kettle beans filter",
        baking="oven whisk dough cake flour",
        tableware="bowl chopsticks teacup plate ceramic",
    ),
    _category(
        "groceries",
        1.3,
        3_900,
        "9 0 1 0",
        "Greenfield Riverrice Saltspring Orchardo Dailyloaf",
        snacks="nuts crisps seaweed biscuits jerky",
        tea="oolong jasmine puer matcha leaves",
        fruit="mango cherry apple lychee citrus",
        staples="rice noodles oil soy vinegar",
    ),
    _category(
        "baby",
        0.8,
        14_900,
        "7 1 2 0",
        "Littlebao Cuddleup Pipkin Snugglo Tinytoes",
        diapers="diaper wipes newborn absorbent cream",
        toys_for_toddlers="blocks rattle puzzle wooden plush",
        feeding="bottle formula bib highchair spoon",
        strollers="stroller carrier carseat foldable canopy",
    ),
    _category(
        "sports",
        1.0,
        16_900,
        "6 3 1 0",
        "Peakform Rallye Ironcore Gladeon Flexor",
        yoga="yoga mat stretching breathing pose",
        strength="dumbbell kettlebell barbell squat gym",
        ball_games="basketball football badminton racket court",
        cycling="bicycle helmet pedals saddle gears",
    ),
    _category(
        "outdoors",
        0.7,
        27_900,
        "6 2 1 1",
        "Trailhead Campfir Northpeak Summitly Birchwild",
        camping="tent stove sleeping campfire tarp",
        hiking="trail backpack poles summit ridge",
        fishing="rod reel bait lure river",
        climbing="rope harness carabiner boulder chalk",
    ),
    _category(
        "pets",
        0.8,
        8_900,
        "6 3 1 0",
        "Pawsome Whiskerly Furrow Barkley Tailor",
        cats="cat litter scratcher kitten whiskers",
        dogs="dog leash puppy kennel treats",
        aquarium="fish tank coral aquarium pump",
        birds_and_small_pets="hamster parrot cage seeds rabbit",
    ),
    _category(
        "books",
        0.8,
        4_900,
        "6 1 3 0",
        "Inkwell Papertrail Folio Quillon Margin",
        novels="novel romance thriller chapter author",
        science="physics biology universe evolution theory",
        comics="manga comic panel hero artist",
        business_books="leadership strategy startup economics habits",
    ),
    _category(
        "gaming",
        1.0,
        24_900,
        "4 5 1 0",
        "Pixelforge Questline Bosskey Arcadia Lootbox",
        console_games="console controller adventure quest boss",
        mobile_games="gacha puzzle guild level update",
        esports="tournament team ranked strategy clutch",
        board_games="dice cards boardgame meeple party",
    ),
    _category(
        "music",
        0.7,
        39_900,
        "4 4 1 1",
        "Tonewood Resonix Drumroll Stringer Cadenza",
        guitar="guitar chords strings fingerstyle amplifier",
        piano="piano keys sonata pedal practice",
        pop_concerts="concert singer stage tickets encore",
        electronic_music="synth beat remix techno mixer",
    ),
    _category(
        "travel",
        0.8,
        69_900,
        "1 3 3 3",
        "Skylane Harbourly Journeo Farway Roamers",
        beach_holidays="beach island snorkel resort sunset",
        city_breaks="museum metro skyline streetfood hotel",
        mountain_trips="mountain cable alpine lodge snow",
        heritage_tours="temple palace dynasty guide village",
    ),
    _category(
        "food and dining",
        1.1,
        9_900,
        "1 5 2 3",
        "Sichuanese Umamio Dumplinger Grillhouse Noodlebar",
        hotpot="hotpot broth spicy beef mushroom",
        desserts="dessert mousse bubbletea icecream pudding",
        home_cooking="recipe stirfry garlic dumplings braised",
        fine_dining="tasting chef wine truffle menu",
    ),
    _category(
        "health",
        0.8,
        13_900,
        "5 2 3 1",
        "Vitalis Meridia Purewell Calmora Ginsengo",
        vitamins="vitamin calcium supplement immune zinc",
        sleep="sleep insomnia melatonin nap rhythm",
        traditional_medicine="herbal acupuncture ginseng massage tonic",
        mental_wellness="mindfulness stress therapy journal calm",
    ),
    _category(
        "finance",
        0.6,
        19_900,
        "0 3 6 1",
        "Coinwise Ledgerly Fundamento Prudentia Yieldon",
        investing="stocks funds dividend portfolio market",
        saving="saving budget interest deposit emergency",
        insurance="insurance policy claim premium cover",
        property="mortgage rent apartment valuation agent",
    ),
    _category(
        "cars",
        0.7,
        29_900,
        "5 3 2 1",
        "Torqueo Autoglide Wheelhaus Dashline Evora",
        electric_cars="electric charging range motor autopilot",
        car_care="wax polish vacuum tyre wiper",
        car_reviews="sedan suv testdrive horsepower interior",
        motorcycles="motorcycle scooter helmet exhaust touring",
    ),
    _category(
        "learning",
        0.8,
        22_900,
        "2 4 3 2",
        "Scholarly Brightpath Lingua Codecraft Tutoria",
        languages="english grammar vocabulary speaking dictation",
        programming="python algorithm database frontend debugging",
        exams="exam mock syllabus revision score",
        painting="watercolour sketch brush canvas portrait",
    ),
)

CATEGORY_NAMES = tuple(c.name for c in CATEGORIES)
TOPICS = tuple((number, topic, words) for number, c in enumerate(CATEGORIES) for topic, words in c.topics.items())
TOPICS_PER_CATEGORY = len(TOPICS) // len(CATEGORIES)
BRAND_NAMES = tuple(brand for c in CATEGORIES for brand in c.brands)

_ADJECTIVES = (
    "light",
    "classic",
    "compact",
    "everyday",
    "premium",
    "soft",
    "bold",
    "quiet",
    "fresh",
    "handmade",
    "smart",
    "durable",
    "gentle",
    "seasonal",
    "family",
    "vintage",
)
_TITLES = {
    "product": (
        "{brand} {adj} {a} with {b}",
        "{adj} {a} and {b} set by {brand}",
        "{brand} {a}, {adj} edition for {topic}",
        "{brand} {topic}: {adj} {a}",
    ),
    "video": (
        "{adj} {a}, step by step",
        "Five minutes of {a} and {b}",
        "We tried {brand} {a} for a week",
        "{topic} for beginners: {a}, {b}, {c}",
    ),
    "article": (
        "A guide to {topic}: {a}, {b} and {c}",
        "What to know about {a} this season",
        "{adj} {a} or {b}? How to choose",
        "Ten notes on {topic} from {brand}",
    ),
    "service": (
        "{brand} {a} class near you",
        "Book {adj} {a} and {b}",
        "{topic} day out with {brand}",
        "{brand} {topic} service: {a}",
    ),
}
_BAIT = (
    "You will not believe this {a}",
    "Shocking truth about {a} and {b}",
    "Only today: the secret of {a}",
    "Everyone is wrong about {topic}",
)
_DESCRIPTIONS = (
    "{adj} {a} for people who love {topic}. Think {b}, {c} and a little {d}.",
    "From {brand}: {a} meets {b}. Part of our {category} range, with {c} in mind.",
    "All about {topic}: {a}, {b}, {c}, {d}. Chosen by our {category} editors.",
    "A {adj} choice in {category}. Works well with {b} and {c}; fans of {d} like it too.",
)


def item_texts(
    rng: np.random.Generator, topic: np.ndarray, brand: np.ndarray, content: np.ndarray, bait: np.ndarray
) -> tuple[list[str], list[str]]:
    """Titles and descriptions of items, from the words of their topics."""
    picks = rng.integers(0, 1 << 30, (len(topic), 4))
    order = rng.permuted(np.tile(np.arange(5, dtype=np.int8), (len(topic), 1)), axis=1)
    titles, descriptions = [], []
    for t, b, kind, tricky, pick, at in zip(topic, brand, content, bait, picks, order, strict=True):
        category, name, words = TOPICS[t]
        values = {
            "a": words[at[0]],
            "b": words[at[1]],
            "c": words[at[2]],
            "d": words[at[3]],
            "topic": name,
            "brand": BRAND_NAMES[b],
            "adj": _ADJECTIVES[pick[0] % len(_ADJECTIVES)],
            "category": CATEGORY_NAMES[category],
        }
        forms = _BAIT if tricky else _TITLES[CONTENT_TYPES[kind]]
        title = forms[pick[1] % len(forms)].format(**values)
        titles.append(f"{title[0].upper()}{title[1:]} no. {pick[2] % 900 + 100}")
        text = _DESCRIPTIONS[pick[3] % len(_DESCRIPTIONS)].format(**values)
        descriptions.append(text[0].upper() + text[1:])
    return titles, descriptions


_REVIEWS = {
    ("en", "good"): (
        "Love this {a}, exactly what I wanted.",
        "Great {topic}, arrived fast and works perfectly.",
        "Excellent quality, I would recommend this {a} to friends.",
        "Very happy, the {a} is wonderful.",
    ),
    ("en", "fair"): (
        "The {a} is okay, nothing special.",
        "Average {topic}; fine for the price.",
        "It does the job, though the {a} could be better.",
    ),
    ("en", "bad"): (
        "Disappointed, the {a} is poor quality.",
        "Terrible, nothing like the title says.",
        "Waste of money, this {a} broke at once.",
        "Not worth it, the {topic} content is misleading.",
    ),
    ("zh", "good"): ("{a}很好，非常满意，推荐！", "质量很棒，会再来买{a}。", "物流快，{topic}超出期待，五星好评。"),
    ("zh", "fair"): ("{a}一般般，还可以。", "{topic}凑合，价格合适。"),
    ("zh", "bad"): ("{a}太差了，很失望。", "标题骗人，{topic}名不副实。", "质量差，浪费钱，不推荐{a}。"),
}
_SERVICE = {
    "en": (
        "I want a refund for the {a}, it is not as described.",
        "My {a} has not arrived, please help.",
        "The {a} is damaged, how can I return it?",
    ),
    "zh": ("我要退款，{a}和描述不符。", "{a}还没有收到，请帮忙。", "{a}坏了，怎么退货？"),
}


def opinion(pick: int, language: str, satisfaction: float, topic: int) -> str:
    """A review whose tone is good above 0.6, bad below 0.4 and fair between."""
    tone = "good" if satisfaction > 0.6 else "bad" if satisfaction < 0.4 else "fair"
    forms = _REVIEWS[language, tone]
    _, name, words = TOPICS[topic]
    return forms[pick % len(forms)].format(a=words[pick // 7 % len(words)], topic=name)


def complaint(pick: int, language: str, topic: int) -> str:
    """A text to customer service."""
    forms = _SERVICE[language]
    words = TOPICS[topic][2]
    return forms[pick % len(forms)].format(a=words[pick // 7 % len(words)])
