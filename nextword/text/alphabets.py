"""What languages are written with: their letters beyond ASCII, and how common those are.

The letters of each are in groups, the commonest first; "-" stands for an empty group.
"""

from __future__ import annotations

# Groups of letters of which each is about so much of a text.
SHARES = (0.07, 0.03, 0.01, 0.003, 0.0003)

LATIN = {
    "en": "- - - - éèêëïîôöüúùçñáàâäåæœøíó",
    "de": "- - ü äö ßéèàáóêç",
    "fr": "- é - àèê ôîçâûùœëïæüÿ",
    "es": "- - ó áíú ñéüç",
    "it": "- - - èà òùéìîôêç",
    "pt": "- - ãç áíéóõú êâàôü",
    "nl": "- - - é ëïóèüöáêç",
    "sv": "- ä öå - éàüè",
    "da": "- - æøå é öäüèóà",
    "fi": "- ä - ö åšžé",
    "is": "- ðá íæóþö úýé -",
    "ca": "- - óà éíèò çïúü",
    "sq": "ë - - ç é",
    "et": "- - äõü ö žšé",
    "pl": "- - łżąęśóć ń źéüö",
    "cs": "- íáé řčýěž šůú óňťďöüä",
    "sk": "- áí čúýťéž ľšô óäňĺďŕöü",
    "hu": "- áé íóöő üúű ä",
    "hr": "- - čš ćžđ éö",
    "sl": "- - čšž - ćđéö",
    "ro": "- ă țșşţî â áéöüőà",
    "lv": "- āēī šūļņ ķžģč õŗ",
    "lt": "- - šėųįą žūčę -",
    "tr": "ı - şçüğö İâ îûé",
    # As code page 1258 writes it, most tones apart from their letters.
    "vi": "\u0323\u0301 \u0300êô đ\u0309ưâơ\u0303 ă áàéèóòúù",
}
OTHERS = {
    "ru": "оеаинт рслвпкдмуязьы бйчгжфцюхшщэ ёъ",
    "uk": "оаниевт рісклдпумяз бчйьгжцєфхюшїщ ґ",
    "be": "анео ырклісдтявпмцзуь ўчэбгйфшхюж ё",
    "bg": "аеноит рвсдпзклм ъябучжгйфцщшхю ѝь",
    "sr": "аеионр тсукдпвмзјл бгњшчљцжћхфђ џ",
    "mk": "аеотинр дквспмлузј бгчњжцшфќѓхџ љѕ",
    "el": "αοετνι σρημπκυςίλδγή έόάχωθύφβώξζ ψϊϋΐΰ",
    "he": "יותהלמ רשאנבקםפעד חסכגןטצזךץף \u05b0\u05b4\u05b5\u05b6\u05b7\u05b8\u05b9\u05bc",
    "ar": "اليم ترنةوفعدسبحقكى صجأهذطإخغشض زثئءؤظـآ"
    "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652",
    # As code page 1256 writes them, which has no ی.
    "fa": "اينردهت ومبشسک پلخفزعصگقجطح كىظچغآضذثأژئءؤ",
    "ur": "ايرنہوک ملتسےدبپىں گجھعشٹفقحچخز ڑطصئآڈضذغثظهك ءؤژۃ",
    "th": "า่อรมก้นเงดั ลีตแบยไสขวิทหจ พคปะืใชูำ์ถฟุ็ผณโ ซึธภญฐษศฉๆฝฏฮ๊ฤฆฌฑ",
}

# The commonest words of languages that `nextword.text.cleaning` does not tell apart.
WORDS = {
    "ca": "de la el i que a en les un els una per amb no del es és al ha se més com dels són o si "
    "va ser però aquest",
    "is": "og að í á sem er til var við með fyrir en um af ekki það hann ég þess frá því eru hún "
    "þú þá",
    "sq": "e të i në dhe për me një që nuk është se nga ka ishte u por ai kjo si më",
    "et": "ja on ei et see ta oli kui ka aga mis oma ma ning või siis nii veel olid ära öö",
    "sk": "a v sa na je že o s z do to ako za aj po k ale by pre bol či tak si som nie pri ktorý",
    "hr": "i je u se na da su za od s a kao što koji o bi nije ne ili iz sam bio sve do ali kako",
    "sl": "in je v na da se so za z ki pa s ne bi ni po od kot tudi bil o ko sem če še pri ali",
    "lv": "un ir ar no ka uz par kas to arī lai bet kā vai viņš es pie tas nav bija pēc ja tā",
    "lt": "ir į yra kad iš su bet kaip tai o ar už jo nuo buvo apie per tik jis savo po dar kai",
}
