"""Encodings with one byte a character: the language of the text tells them apart."""

from __future__ import annotations

import unicodedata

import pytest
from samples import ReadBytes

from nextword.errors import UserError
from nextword.text.encoding import decode, detect_encoding

TEXTS = {
    "hu": "A lány az ablaknál ült, és nézte, ahogy az őszi erdő fölött sűrű füst száll. Az öreg "
    "szűcs azt mondta, hogy a tél hosszú lesz, és hogy meg kell erősíteni a tetőt. „Nem is "
    "olyan könnyű” – felelte a fiú, de azért elővette a fűrészt, és munkához látott.",
    "pl": "Dziewczyna siedziała przy oknie i patrzyła, jak nad jesiennym lasem unosi się gęsty "
    "dym. Stary kuśnierz powiedział, że zima będzie długa i że trzeba wzmocnić dach. „To wcale "
    "nie jest łatwe” – odparł chłopiec, lecz wziął piłę i zaczął pracować, bo źle byłoby już "
    "dłużej czekać.",
    "cs": "Dívka seděla u okna a dívala se, jak nad podzimním lesem stoupá hustý kouř. Starý "
    "kožešník řekl, že zima bude dlouhá a že je třeba zpevnit střechu. „To není tak lehké,“ "
    "odpověděl chlapec, ale přesto vzal pilu a dal se do práce, protože večer už měl přijít "
    "sníh.",
    "sk": "Dievča sedelo pri okne a pozeralo sa, ako nad jesenným lesom stúpa hustý dym. Starý "
    "kožušník povedal, že zima bude dlhá a že treba spevniť strechu. „To nie je také ľahké,“ "
    "odpovedal chlapec, ale predsa vzal pílu a dal sa do práce, lebo večer už mal prísť sneh a "
    "nôž bol tupý.",
    "hr": "Djevojka je sjedila kraj prozora i gledala kako se nad jesenjom šumom diže gust dim. "
    "Stari krznar je rekao da će zima biti duga i da treba učvrstiti krov. „Nije to tako lako“, "
    "odgovorio je dječak, ali je ipak uzeo pilu i počeo raditi, jer je već navečer trebao doći "
    "snijeg i mraz.",
    "sl": "Deklica je sedela ob oknu in gledala, kako se nad jesenskim gozdom dviga gost dim. "
    "Stari krznar je rekel, da bo zima dolga in da je treba utrditi streho. „Saj ni tako "
    "težko,“ je odgovoril deček, vzel žago in začel delati, ker naj bi že zvečer prišel sneg, "
    "če ne celo prej.",
    "ro": "Fata stătea lângă fereastră şi privea cum se ridică un fum des peste pădurea de "
    "toamnă. Bătrânul blănar a spus că iarna va fi lungă şi că trebuie întărit acoperişul. „Nu "
    "este aşa de uşor”, a răspuns băiatul, dar a luat fierăstrăul şi s-a apucat de treabă fără "
    "să mai aştepte.",
    "tr": "Kız pencerenin yanında oturuyor, sonbahar ormanının üzerinde yükselen yoğun dumana "
    "bakıyordu. Yaşlı kürkçü kışın uzun olacağını ve çatıyı güçlendirmek gerektiğini söyledi. "
    "İş o kadar kolay değildi, ama çocuk yine de testereyi aldı ve çalışmaya başladı, çünkü "
    "akşama kar gelecekti.",
    "lt": "Mergaitė sėdėjo prie lango ir žiūrėjo, kaip virš rudeninio miško kyla tirštas dūmas. "
    "Senas kailininkas pasakė, kad žiema bus ilga ir kad reikia sutvirtinti stogą. Tai nėra "
    "taip lengva, atsakė berniukas, bet vis dėlto paėmė pjūklą ir ėmėsi darbo, nes į vakarą "
    "turėjo ateiti šaltis.",
    "lv": "Meitene sēdēja pie loga un skatījās, kā virs rudens meža ceļas biezi dūmi. Vecais "
    "kažoknieks teica, ka ziema būs gara un ka jānostiprina jumts. Tas nemaz nav tik viegli, "
    "atbildēja zēns, bet tomēr paņēma zāģi un ķērās pie darba, jo vakarā jau bija jānāk sniegam "
    "un šķita, ka būs auksts.",
    "et": "Tüdruk istus akna ääres ja vaatas, kuidas sügisese metsa kohal tõuseb paks suits. "
    "Vana köösner ütles, et talv tuleb pikk ja et katust on vaja tugevdada. See ei olegi nii "
    "kerge, vastas poiss, aga võttis ikkagi sae ja hakkas tööle, sest õhtuks pidi juba lumi "
    "maha tulema.",
    "vi": "Cô gái ngồi bên cửa sổ và nhìn làn khói dày đặc bốc lên trên khu rừng mùa thu. Người "
    "thợ già nói rằng mùa đông sẽ dài và cần phải sửa lại mái nhà. Cậu bé trả lời rằng việc đó "
    "không dễ, nhưng rồi cũng lấy cưa và bắt đầu làm việc, vì tối nay tuyết đã rơi.",
    "de": "Das Mädchen saß am Fenster und sah, wie über dem herbstlichen Wald dichter Rauch "
    "aufstieg. Der alte Kürschner sagte, der Winter werde lang. „Das ist nicht so leicht“, "
    "sagte der Junge.",
    "fr": "La fille était assise près de la fenêtre et regardait la fumée épaisse s’élever "
    "au-dessus de la forêt. Le vieux fourreur dit que l’hiver serait long et qu’il fallait "
    "renforcer le toit ; ça ne sera pas aisé, répondit le garçon, mais il prit tout de même la "
    "scie, bien sûr.",
    "es": "La niña estaba sentada junto a la ventana y miraba cómo subía un humo espeso sobre "
    "el bosque de otoño. El viejo peletero dijo que el invierno sería largo. ¿No es fácil?, "
    "preguntó el muchacho, pero aun así cogió la sierra y empezó a trabajar, porque al "
    "anochecer llegaría la nieve.",
    "it": "La ragazza sedeva alla finestra e guardava il fumo salire sopra il bosco. Il vecchio "
    "disse che l’inverno sarebbe stato lungo e che bisognava rinforzare il tetto. Non è così "
    "facile, rispose il ragazzo, però prese la sega e cominciò a lavorare, perché la neve "
    "sarebbe arrivata più tardi.",
    "pt": "A menina estava sentada à janela e via subir uma fumaça espessa sobre a floresta. O "
    "velho disse que o inverno seria longo e que era preciso reforçar o telhado. Não é tão "
    "fácil, respondeu o rapaz, mas pegou a serra e começou a trabalhar, pois as nuvens já "
    "vinham e a noite não seria amena.",
    "nl": "Het meisje zat bij het raam en keek hoe er dikke rook boven het bos opsteeg. De oude "
    "man zei dat de winter lang zou worden, en dat het hele dak versterkt moest worden; de "
    "ideeën van de jongen, die zo naïef klonken, waren zo gek nog niet, en met één zaag gingen "
    "zij aan het werk.",
    "sv": "Flickan satt vid fönstret och såg hur tät rök steg upp över höstskogen. Den gamle "
    "körsnären sade att vintern skulle bli lång och att taket måste förstärkas.",
    "da": "Pigen sad ved vinduet og så, hvordan tæt røg steg op over efterårsskoven. Den gamle "
    "buntmager sagde, at vinteren ville blive lang, og at taget måtte gøres stærkere, før sneen "
    "kom.",
    "fi": "Tyttö istui ikkunan ääressä ja katseli, kuinka sakea savu nousi syksyisen metsän "
    "yllä. Vanha turkkuri sanoi, että talvesta tulee pitkä ja että katto pitää vahvistaa.",
    "is": "Stúlkan sat við gluggann og horfði á hvernig þykkur reykur steig upp yfir skóginum. "
    "Gamli maðurinn sagði að veturinn yrði langur og að það þyrfti að styrkja þakið áður en "
    "snjórinn kæmi.",
    "el": "Το κορίτσι καθόταν στο παράθυρο και κοίταζε τον πυκνό καπνό που ανέβαινε πάνω από το "
    "δάσος. Ο γέρος είπε ότι ο χειμώνας θα είναι μακρύς. Άλλο δεν είπε κανείς, και το αγόρι "
    "πήρε το πριόνι.",
    "ru": "Девочка сидела у окна и смотрела, как над осенним лесом поднимается густой дым. "
    "Старый скорняк сказал, что зима будет долгой и что надо укрепить крышу. Это не так легко, "
    "ответил мальчик.",
    "uk": "Дівчина сиділа біля вікна й дивилася, як над осіннім лісом здіймається густий дим. "
    "Старий кушнір сказав, що зима буде довгою і що треба зміцнити дах. Це не так легко, "
    "відповів її брат.",
    "bg": "Момичето седеше до прозореца и гледаше как над есенната гора се издига гъст дим. "
    "Старият кожухар каза, че зимата ще бъде дълга и че трябва да се укрепи покривът.",
    "sr": "Девојка је седела крај прозора и гледала како се над јесењом шумом диже густ дим. "
    "Стари крзнар је рекао да ће зима бити дуга и да треба учврстити кров пре него што падне "
    "снег.",
    "he": "הילדה ישבה ליד החלון והסתכלה איך עשן סמיך עולה מעל היער. הזקן אמר שהחורף יהיה ארוך "
    "ושצריך לחזק את הגג. זה לא כל כך קל, ענה הילד, אבל לקח את המסור והתחיל לעבוד.",
    "ar": "جلست الفتاة عند النافذة ونظرت إلى الدخان الكثيف الذي يصعد فوق الغابة. قال الرجل "
    "العجوز إن الشتاء سيكون طويلا وإن علينا أن نقوي السقف. هذا ليس سهلا، أجاب الولد، لكنه أخذ "
    "المنشار وبدأ العمل.",
    "th": "เด็กหญิงนั่งอยู่ข้างหน้าต่างและมองดูควันหนาที่ลอยขึ้นเหนือป่า ชายชราพู"
    "ดว่าฤดูหนาวจะยาวนานและต้องซ่อมหลังคา เด็กชายตอบว่ามันไม่ง่าย แต่เขาก็ห"
    "ยิบเลื่อยและเริ่มทำงาน",
}
ENCODINGS = {
    "cp1250": "hu pl cs sk hr sl ro de",
    "iso8859_2": "hu pl cs sk hr sl ro",
    "cp1252": "de fr es it pt nl sv da fi is",
    "iso8859_15": "fr fi de",
    "cp1254": "tr",
    "cp1257": "lt lv et",
    "cp1258": "vi",
    "cp1251": "ru uk bg sr",
    "koi8_r": "ru bg",
    "koi8_u": "uk",
    "iso8859_5": "ru uk bg sr",
    "cp866": "ru",
    "cp1253": "el",
    "iso8859_7": "el",
    "cp1255": "he",
    "cp1256": "ar",
    "cp874": "th",
}
PAIRS = [(name, encoding) for encoding, names in ENCODINGS.items() for name in names.split()]


def encoded(text: str, encoding: str) -> bytes:
    """Bytes of a text, without the few marks that the encoding lacks."""
    if encoding == "cp1258":  # most tones stand apart from their letters there
        marks = {ord(mark): None for mark in "\u0300\u0301\u0303\u0309\u0323"}
        parts = (unicodedata.normalize("NFD", character) for character in text)
        return b"".join(
            unicodedata.normalize("NFC", part.translate(marks)).encode(encoding)
            + "".join(mark for mark in part if ord(mark) in marks).encode(encoding)
            for part in parts
        )
    return text.encode(encoding, "ignore")


@pytest.mark.parametrize(("language", "encoding"), PAIRS)
def test_the_encoding_is_told_by_the_language_of_the_text(language: str, encoding: str) -> None:
    content = encoded(TEXTS[language], encoding)
    assert decode(content, detect_encoding(content)) == content.decode(encoding)
    after_plain_words = b"plain words " * 300 + content
    assert detect_encoding(after_plain_words) == detect_encoding(content)


@pytest.mark.parametrize(("language", "encoding"), PAIRS)
def test_a_sentence_is_read_right_or_refused(language: str, encoding: str) -> None:
    refused = 0
    for sentence in TEXTS[language].split(". "):
        content = encoded(sentence, encoding)
        try:
            assert decode(content, detect_encoding(content)) == content.decode(encoding)
        except UserError as error:
            assert "at byte" in error.what
            refused += 1
    assert refused <= 1


def test_two_readings_that_are_as_likely_are_both_named(read_bytes: ReadBytes) -> None:
    with pytest.raises(UserError) as caught:
        read_bytes("a.txt", "A tűz".encode("cp1250"))
    message = str(caught.value)
    assert "a.txt: is not UTF-8 (0xfb at byte 3)" in message
    assert "CP1250 (“tűz”)" in message and "CP1257 (“tūz”)" in message and "iconv" in message


def test_a_letter_late_in_a_long_text_tells_its_encoding() -> None:
    early = "El café está aquí. " * 5000  # reads the same way in both
    content = early.encode("cp1250") + TEXTS["pl"].encode("cp1250") * 40
    assert detect_encoding(content) == "cp1250"


@pytest.mark.parametrize("noise", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe4\xb8", b"\x93\x94\x81"])
def test_a_stray_byte_in_plain_text_is_not_taken_for_a_letter(noise: bytes) -> None:
    with pytest.raises(UserError, match="is not UTF-8"):
        detect_encoding(b"All of it plain. " + noise + b" All of it plain.")


@pytest.mark.parametrize(
    "text",
    [
        "item,price\ntea,£5.00\ncoffee,£3.20\n",
        "Heat to 25 °C ± 3, add 10 µm of it, ¼ cup, 2 m², for ¥500.",
        "1;Müller\n2;François\n3;Søren Århus\n4;Peña\n",
        "¿Qué pasa?",
        "©2020 ACME®: el 1º de mayo",
        "El Niño was strong in the Pacific this year.",
        "name,city\nJosé,Málaga\nJoão,São Paulo\n",
    ],
)
def test_signs_names_and_lone_accents_stay_western(text: str) -> None:
    content = text.encode("cp1252")
    assert decode(content, detect_encoding(content)) == text


def test_box_drawing_is_refused() -> None:
    frame = "╔══════╗\n║ menu ║\n╠══════╣\n║ quit ║\n╚══════╝\n" * 5
    with pytest.raises(UserError, match="is not UTF-8"):
        detect_encoding(frame.encode("cp437"))


@pytest.mark.parametrize(
    ("language", "encoding"),
    [(name, encoding) for name, encoding in PAIRS if encoding != "cp1258"],
)
def test_a_foreign_text_within_english_is_read_as_its_own_language(
    language: str, encoding: str
) -> None:
    english = b"It had been a long day, and all of them went home before it was dark. " * 30
    content = english + encoded(TEXTS[language], encoding) + b"\n" + english
    assert decode(content, detect_encoding(content)) == content.decode(encoding)


@pytest.mark.parametrize(
    ("sentence", "encoding"),
    [("Az őszi erdőben", "cp1250"), ("yürüyüş yaptık", "cp1254"), ("Vėlavo žąsų būrys", "cp1257")],
)
def test_a_few_foreign_words_within_english_are_never_read_as_western(
    sentence: str, encoding: str
) -> None:
    english = b" It had been a long day, and all of them went home before it was dark. " * 5
    content = english + sentence.encode(encoding) + english
    try:
        assert decode(content, detect_encoding(content)) == content.decode(encoding)
    except UserError as error:
        assert encoding.upper() in error.what and "CP1252" in error.what


@pytest.mark.parametrize("encoding", ["cp1251", "koi8_r", "iso8859_5", "mac_cyrillic"])
def test_russian_in_capitals_is_russian(encoding: str) -> None:
    text = "СЕГОДНЯ ХОРОШАЯ ПОГОДА, И МЫ ПОШЛИ ГУЛЯТЬ В ПАРК. ДЕТИ ИГРАЛИ НА ПЛОЩАДКЕ."
    try:
        assert decode(text.encode(encoding), detect_encoding(text.encode(encoding))) == text
    except UserError as error:
        assert "it may be" in error.what


def test_cyrillic_of_old_macs_is_not_greek() -> None:
    content = TEXTS["ru"].encode("mac_cyrillic")
    assert decode(content, detect_encoding(content)) == TEXTS["ru"]


OLD_PERSIAN = "دولت ايران اعلام کرد که برنامه جديد اقتصادي در سال آينده آغاز خواهد شد."
OLD_URDU = "پاکستان کے وزير اعظم نے کہا ہے کہ حکومت عوام کے مسائل حل کرنے کے ليے کام کرے گي."


@pytest.mark.parametrize(
    "text", [OLD_PERSIAN, OLD_URDU, OLD_PERSIAN.replace("آينده", "مي\u200cشود")]
)
def test_persian_and_urdu_are_read_as_windows_wrote_them(text: str) -> None:
    assert detect_encoding(text.encode("cp1256")) == "cp1256"


@pytest.mark.parametrize(
    "text",
    [
        "L’été dernier, nous sommes allés à la mer. Mon frère a préféré rester à la maison.",
        "Die Bäume waren schon grün, als wir über die Brücke gingen. „Natürlich“, sagte er.",
        "He didn’t say “yes”—but he wasn’t against it, and the café was naïve about it.",
    ],
)
@pytest.mark.parametrize("encoding", ["mac_roman", "cp1252"])
def test_text_of_old_macs_and_of_windows_are_told_apart(text: str, encoding: str) -> None:
    assert detect_encoding(text.encode(encoding)) == encoding


def test_a_foreign_word_within_english_is_not_taken_for_a_text_of_a_mac() -> None:
    text = "The flight to Łódź was late, and we had to wait. " * 20
    assert detect_encoding(text.encode("cp1250")) == "cp1250"
